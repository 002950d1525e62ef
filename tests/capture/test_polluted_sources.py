"""Folders in which something is wrong: the double stays within a stated distance of the clean one, or the bad item is refused.

Distances: CIE 1976 delta E of the fused skin and of every key's eyes, millimetres of the neutral shape, cosine of identity.
Public-domain portraits (scikit-image's astronaut, matplotlib's Grace Hopper) with degradations drawn on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import degraded
import numpy as np
import pytest
from public_pictures import package_file
from scenes import consent

from digidouble.capture import CaptureSettings, capture
from digidouble.errors import NoFace, SeveralFaces, WeightsError
from digidouble.perception.detector import FaceDetector
from digidouble.perception.mesh import FaceMesher, roi_from_detection
from digidouble.perception.uvgrid import uv_grid
from digidouble.persona import PersonaSettings, build_persona, load_persona, save_persona
from digidouble.schema.capture import CaptureSet
from digidouble.schema.mesh import face_model
from digidouble.schema.persona import KeyAtlas, Persona

SIZE, COUNT = 256, 6
SPOILED = (0, 3)
DE_SKIN, DE_EYES, NEUTRAL_MM, IDENTITY = 1.0, 6.0, 0.6, 0.97


def rgb(path: Path) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


@dataclass
class Studio:
    """The clean pictures, their meshes, and the persona built from them."""

    pictures: list[np.ndarray]
    meshes: list[np.ndarray]
    persona: Persona


def from_pictures(folder: Path, pictures: list[np.ndarray], **settings) -> tuple[CaptureSet, Persona]:
    folder.mkdir(exist_ok=True)
    for i, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{i:02d}.png"), picture[..., ::-1])
    captured = capture([folder], consent(), CaptureSettings(**settings))
    return captured, build_persona(captured, "polluted", PersonaSettings(atlas_px=SIZE))


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> Studio:
    pictures = degraded.snapshots(rgb(package_file("skimage", "data/astronaut.png")), COUNT)
    try:
        detector, mesher = FaceDetector(), FaceMesher()
        meshes = [mesher.mesh(p, roi_from_detection(detector.detect(p)[0])[None])[0].points_px for p in pictures]
        _, persona = from_pictures(tmp_path_factory.mktemp("clean"), pictures)
    except WeightsError as error:
        pytest.skip(f"weights cannot be had here: {error}")
    return Studio(pictures, meshes, persona)


def spoil(studio: Studio, how, which=SPOILED) -> list[np.ndarray]:
    return [how(p, m) if i in which else p for i, (p, m) in enumerate(zip(studio.pictures, studio.meshes, strict=True))]


def lab(key: KeyAtlas) -> np.ndarray:
    linear = np.clip(key.albedo.astype(np.float32), 0, 1)
    coded = np.where(linear < 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-6) ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(coded.astype(np.float32), cv2.COLOR_RGB2LAB)


def zones() -> tuple[np.ndarray, np.ndarray]:
    """(skin, around the eyes) in the atlas."""
    grid = uv_grid(SIZE)
    place = grid.carried(face_model().mean_cm)
    return grid.skin, grid.covered & (np.hypot(np.abs(place[..., 0]) - 3.1, place[..., 1]) < 1.9)


def away(persona: Persona, clean: Persona) -> tuple[float, float, float, float]:
    """(dE of the fused skin, worst key's dE around the eyes, mm, cosine)."""
    skin, eyes = zones()
    reference = lab(clean.keys[0])
    seen = skin & (clean.keys[0].confidence > 60)
    by_key = [np.linalg.norm(lab(k) - reference, axis=-1)[eyes].mean() for k in persona.keys]
    return (
        float(np.linalg.norm(lab(persona.keys[0]) - reference, axis=-1)[seen].mean()),
        float(max(by_key)),
        float(10 * np.linalg.norm(persona.neutral_cm - clean.neutral_cm, axis=1).mean()),
        float(persona.identity @ clean.identity),
    )


def close_to(persona: Persona, clean: Persona) -> None:
    skin, eyes, neutral, identity = away(persona, clean)
    assert skin < DE_SKIN and eyes < DE_EYES and neutral < NEUTRAL_MM and identity > IDENTITY, away(persona, clean)


def test_the_measure_sees_what_is_wrong(studio, tmp_path):
    """Each degradation, where every picture has it, is far outside what is asked of the others."""
    for how in (degraded.makeup, degraded.grey):
        _, persona = from_pictures(tmp_path / how.__name__, spoil(studio, how, range(3))[:3])
        assert away(persona, studio.persona)[0] > DE_SKIN or away(persona, studio.persona)[1] > DE_EYES


@pytest.mark.parametrize(
    "how", [degraded.makeup, degraded.glasses, degraded.side_light, degraded.shut_eyes, degraded.grey, degraded.small]
)
def test_some_spoiled_pictures_do_not_change_the_double(how, studio, tmp_path):
    _, persona = from_pictures(tmp_path / "set", spoil(studio, how))
    close_to(persona, studio.persona)


def test_one_bad_photograph_among_twenty_is_refused(studio, tmp_path):
    pictures = [*studio.pictures, *[p[:, ::-1] for p in studio.pictures[:3]], *studio.pictures[:5], *studio.pictures]
    pictures = [np.ascontiguousarray(p) for p in pictures[:20]]
    pictures[7] = degraded.blurred(pictures[7], studio.meshes[1])
    captured, persona = from_pictures(tmp_path / "set", pictures)
    assert [n.name for n in captured.rejected if "too soft" in n.reason] == ["07.png"]
    skin, eyes, neutral, identity = away(persona, studio.persona)
    assert skin < 3 and eyes < 2 * DE_EYES and neutral < 2 and identity > 0.9  # mirrored pictures are in it


def test_dark_glasses_are_refused_with_file_and_reason(studio, tmp_path):
    captured, persona = from_pictures(tmp_path / "set", spoil(studio, degraded.sunglasses))
    refused = [n for n in captured.rejected if "dark glasses" in n.reason]
    assert [n.name for n in refused] == ["00.png", "03.png"]
    close_to(persona, studio.persona)
    kept = load_persona(save_persona(persona, tmp_path / "x.persona")).left_out
    assert kept == captured.rejected


def test_nothing_but_dark_glasses_makes_no_double(studio, tmp_path):
    with pytest.raises(NoFace, match="dark glasses hide the eyes"):
        from_pictures(tmp_path / "set", spoil(studio, degraded.sunglasses, range(2))[:2])


def test_mostly_grey_pictures_keep_the_colour_of_the_few(studio, tmp_path):
    captured, persona = from_pictures(tmp_path / "set", spoil(studio, degraded.grey, range(1, COUNT)))
    assert sum(bool(k.traits and k.traits.grey) for k in captured.looks) >= 3
    skin, _ = zones()
    wanted = lab(studio.persona.keys[0])[skin][:, 1:].mean(0)
    for key in persona.keys:  # hue and chroma; how bright the one picture in colour was is its own affair
        assert np.linalg.norm(lab(key)[skin][:, 1:].mean(0) - wanted) < 3
    _, _, neutral, identity = away(persona, studio.persona)
    assert neutral < NEUTRAL_MM and identity > IDENTITY


def test_only_grey_pictures_say_so(studio, tmp_path):
    captured, _ = from_pictures(tmp_path / "set", spoil(studio, degraded.grey, range(3))[:3])
    assert "greyscale" in captured.rejected[-1].reason


def test_shut_eyes_are_no_eye_texture(studio, tmp_path):
    """Pupils are dark and the white of the eye is bright in every key, whatever lids its source had."""
    _, persona = from_pictures(tmp_path / "set", spoil(studio, degraded.shut_eyes, range(4)))
    grid, m = uv_grid(SIZE), face_model()
    opening = np.isin(grid.points, np.concatenate([m.loops["left_eye"], m.loops["right_eye"]])).all(-1)
    opening &= grid.triangle >= len(m.triangles)
    clean = lab(studio.persona.keys[0])[opening][:, 0]
    for key in persona.keys:
        assert np.corrcoef(lab(key)[opening][:, 0], clean)[0, 1] > 0.8


def test_other_people_in_the_folder_are_named(studio, tmp_path):
    hopper = rgb(package_file("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"))
    captured, persona = from_pictures(tmp_path / "set", [*studio.pictures, hopper, hopper[:, ::-1]])
    strangers = [n for n in captured.rejected if "another person" in n.reason]
    assert [n.name for n in strangers] == ["06.png", "07.png"] and "likeness" in strangers[0].reason
    close_to(persona, studio.persona)


def test_a_group_picture_gives_the_person_of_the_other_pictures_or_the_one_pointed_at(studio, tmp_path):
    hopper = rgb(package_file("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"))
    height = studio.pictures[0].shape[0]
    beside = cv2.resize(hopper, (round(hopper.shape[1] * height / hopper.shape[0]), height))
    both = np.hstack([beside, studio.pictures[0]])
    captured, persona = from_pictures(tmp_path / "a", [both, studio.pictures[1], studio.pictures[2]])
    assert persona.identity @ studio.persona.identity > IDENTITY and len(captured.looks) == 3
    _, left = from_pictures(tmp_path / "a", [both, studio.pictures[1], studio.pictures[2]], face=1)
    assert left.identity @ studio.persona.identity < 0.4
    with pytest.raises(SeveralFaces, match="--face"):
        from_pictures(tmp_path / "b", [studio.pictures[0], hopper])
    with pytest.raises(SeveralFaces, match="--face 4"):
        from_pictures(tmp_path / "c", [both, studio.pictures[0]], face=4)

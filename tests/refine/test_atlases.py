"""Atlases finer than their sources: what grows, what stays, what is said about it."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from digidouble.errors import DamagedAsset, SettingsError
from digidouble.perception.uvgrid import uv_grid
from digidouble.persona import load_persona, save_persona
from digidouble.pipeline import with_detail
from digidouble.refine.atlases import ON_FEATURES, detailed, pays, share_of_detail
from digidouble.refine.diffusion import SkinDetail
from digidouble.schema.persona import TEXELS_PER_PX, AddedDetail, Persona
from digidouble.schema.transfer import srgb_encode


class Checkers:
    """A network that answers with a chequerboard, as fine as texels go, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[float, int, float]] = []

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        _, _, h, w = inputs["low"].shape
        self.told.append((float(2 ** inputs["place"][0, 2, 0, 0]), w, float(inputs["noise"][0, 0, 0, 0])))
        board = (np.indices((h, w)).sum(0) % 2 * 2 - 1).astype(np.float32)
        return {"detail": np.broadcast_to(0.02 * board, (1, 3, h, w))}


def with_faces(persona: Persona, *face_px: float) -> Persona:
    """Its first keys, as if photographed at those widths, of plain skin and all seen."""
    plain = np.broadcast_to(np.array([0.3, 0.18, 0.12], np.float16), persona.keys[0].albedo.shape).copy()
    keys = [
        dataclasses.replace(k, face_px=px, albedo=plain, confidence=np.full_like(k.confidence, 255))
        for k, px in zip(persona.keys, face_px, strict=False)
    ]
    return dataclasses.replace(persona, keys=tuple(keys))


def test_atlases_take_twice_the_resolution_of_the_sharpest_source(persona_b):
    network = Checkers()
    small = with_faces(persona_b, 110.0, 110.0, 60.0)
    fine = detailed(small, SkinDetail(runner=network))
    side = fine.keys[0].albedo.shape[0]
    assert side == 32 * round(2 * TEXELS_PER_PX * 110 / 32) == 320
    assert {k.albedo.shape[0] for k in fine.keys} == {k.confidence.shape[0] for k in fine.keys} == {320}
    assert fine.detail == AddedDetail(round(320 / (1.45 * 110), 3), "") and [k.face_px for k in fine.keys] == [
        110.0,
        110.0,
        60.0,
    ]
    # The soft key lacks more than the sharp ones, and is told so: 320 texels over what 60 px fill.
    factors = [f for f, _, _ in network.told]
    assert factors[0] == pytest.approx(2.0, abs=0.01) and factors[-1] == pytest.approx(320 / (1.45 * 60), rel=1e-3)
    # One noise for all keys: pores stay where they are when keys cross-fade.
    tiles = len(network.told) // 3
    assert network.told[:tiles][0][2] == network.told[tiles][2] == network.told[2 * tiles][2]


def test_an_atlas_is_never_made_smaller(persona_b):
    fine = detailed(with_faces(persona_b, 50.0), SkinDetail(runner=Checkers()))
    assert fine.keys[0].albedo.shape == persona_b.keys[0].albedo.shape


def test_detail_lies_where_the_source_was_seen_and_less_on_features(persona_b):
    small = with_faces(persona_b, 110.0)
    unseen = small.keys[0].confidence.copy()
    unseen[:, : unseen.shape[1] // 2] = 0
    small = dataclasses.replace(small, keys=(dataclasses.replace(small.keys[0], confidence=unseen),))
    skin = srgb_encode(detailed(small, SkinDetail(runner=Checkers())).keys[0].albedo.astype(np.float32))
    change = np.abs(skin - srgb_encode(np.array([0.3, 0.18, 0.12], np.float16).astype(np.float32)))[..., 0]
    assert change[:, :150].max() < 1e-3
    share, grid = share_of_detail(320), uv_grid(320)
    right = np.zeros((320, 320), bool)
    right[:, 180:] = True
    plain = cv2.erode((grid.skin & right).astype(np.uint8), np.ones((15, 15))) > 0
    lips = cv2.erode((~grid.skin & right).astype(np.uint8), np.ones((15, 15))) > 0
    assert share[plain].min() > 0.95 and share[lips].max() < ON_FEATURES + 0.05
    assert np.median(change[plain]) == pytest.approx(0.02, rel=0.1)
    assert np.median(change[lips]) == pytest.approx(0.02 * ON_FEATURES, rel=0.15)


def test_low_frequencies_stay(persona_b):
    """A network that would like to paint the face green may not."""

    class Green:
        def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            out = np.zeros_like(inputs["low"])
            out[:, 1] = 0.3
            return {"detail": out}

    small = with_faces(persona_b, 110.0)
    plain = np.array([0.3, 0.18, 0.12], np.float16).astype(np.float32)
    skin = detailed(small, SkinDetail(runner=Green())).keys[0].albedo.astype(np.float32)
    assert np.abs(srgb_encode(skin) - srgb_encode(plain)).max() * 255 < 0.5


def test_an_atlas_that_was_asked_to_be_larger_or_smaller_than_its_source_is_taken_for_what_it_is(persona_b):
    """110 px fill 160 texels: an atlas of 512 is 3.2 times that already, one of 64 holds no more than 64."""
    for side, texels, held in ((512, 512, 110 * TEXELS_PER_PX), (64, 128, 64)):
        network = Checkers()
        k = with_faces(persona_b, 110.0).keys[0]
        size = (side, side)
        key = dataclasses.replace(
            k, albedo=cv2.resize(k.albedo.astype(np.float32), size).astype(np.float16),
            confidence=cv2.resize(k.confidence, size),
        )  # fmt: skip
        fine = detailed(dataclasses.replace(persona_b, keys=(key,)), SkinDetail(runner=network))
        assert fine.keys[0].albedo.shape[0] == texels
        assert fine.detail == AddedDetail(round(texels / held, 3), "")
        assert {round(f, 2) for f, _, _ in network.told} == {round(texels / held, 2)}


def test_it_pays_for_small_faces_once(persona_b):
    small = with_faces(persona_b, 200.0, 100.0)
    assert pays(small) and not pays(with_faces(persona_b, 300.0, 100.0))
    fine = detailed(small, SkinDetail(runner=Checkers()))
    assert not pays(fine)
    assert with_detail(fine) is fine
    with pytest.raises(SettingsError, match="already"):
        detailed(fine, SkinDetail(runner=Checkers()))


def test_progress_counts_keys(persona_b):
    seen: list[tuple[int, int]] = []
    detailed(
        with_faces(persona_b, 60.0, 60.0), SkinDetail(runner=Checkers()), progress=lambda d, n: seen.append((d, n))
    )
    assert seen == [(1, 2), (2, 2)]


def test_the_shipped_network_sharpens_a_small_face(persona_b):
    """Against bicubic, the band that the source could not hold gets power, and the rest does not move."""
    k = persona_b.keys[0]
    s = k.albedo.shape[0]
    soft = cv2.resize(k.albedo.astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA)
    soft = cv2.resize(soft, (s, s), interpolation=cv2.INTER_CUBIC)
    key = dataclasses.replace(k, albedo=np.maximum(soft, 0).astype(np.float16), face_px=44.0)
    small = dataclasses.replace(persona_b, keys=(key,))
    fine = with_detail(small)
    assert fine.detail is not None and len(fine.detail.network) == 64
    before, after = (srgb_encode(p.keys[0].albedo.astype(np.float32)) for p in (small, fine))
    inside = uv_grid(s).skin & (key.confidence > 200)
    change = after - before
    assert np.abs(change[inside]).mean() * 255 > 0.05
    assert np.abs(cv2.blur(change, (16, 16))[inside]).mean() * 255 < 0.5
    again = with_detail(small)
    assert np.array_equal(again.keys[0].albedo, fine.keys[0].albedo)


def test_a_persona_on_disk_says_what_was_added(persona_b, tmp_path: Path):
    assert load_persona(save_persona(persona_b, tmp_path / "plain.persona")).detail is None
    fine = dataclasses.replace(persona_b, detail=AddedDetail(2.0, "ab" * 32))
    out = save_persona(fine, tmp_path / "fine.persona")
    assert load_persona(out).detail == fine.detail


@pytest.mark.parametrize(
    "facts",
    [
        [],
        "2",
        {"factor": 2.0},
        {"factor": 1e9, "network": ""},
        {"factor": "much", "network": ""},
        {"factor": 2.0, "network": "<script>"},
        {"factor": 2.0, "network": "ab" * 31},
        {"factor": 2.0, "network": None},
    ],
)
def test_damaged_facts_about_detail_are_refused(persona_b, tmp_path: Path, facts):
    out = save_persona(dataclasses.replace(persona_b, detail=AddedDetail(2.0, "")), tmp_path / "p.persona")
    with zipfile.ZipFile(out) as source:
        members = {i.filename: source.read(i) for i in source.infolist()}
    manifest = json.loads(members["manifest.json"])
    manifest["facts"]["detail"] = facts
    members["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(out, "w") as target:
        for name, data in members.items():
            target.writestr(name, data)
    with pytest.raises(DamagedAsset, match="malformed"):
        load_persona(out)

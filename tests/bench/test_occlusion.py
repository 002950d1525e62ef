"""The occlusion protocol: coverage is what is drawn, known mattes get known scores, a whole item on a made-up shot."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from digidouble.bench import occluders
from digidouble.bench.material import Clip, Pair
from digidouble.bench.protocol import Scope
from digidouble.bench.protocols import occlusion
from digidouble.bench.workshop import Workshop
from digidouble.perception.hair import CELLS, HairLook
from digidouble.perception.matte import hull, px_from_crop
from digidouble.performance import analyse, load_performance
from digidouble.schema.frame import Roi
from digidouble.schema.mesh import FLIP_YZ, face_model
from digidouble.schema.track import MATTE_SIZE

SKIN = np.array([200.0, 150.0, 120.0])
POINTS = (face_model().mean_cm * FLIP_YZ * 12 + (150, 140, 0)).astype(np.float32)
GREEN = np.dstack([np.full((256, 256, 3), (0, 255, 0), np.uint8), np.zeros((256, 256), np.uint8)])
GREEN[100:180, 60:200, 3] = 255


def test_layers_are_seeded_soft_and_cover_the_face_in_part(tmp_path):
    layers, again = (occluders.layers_of(tmp_path, SKIN, 3) for _ in range(2))
    assert list(layers) == list(occluders.DRAWN)  # no photographs here
    for kind, layer in layers.items():
        np.testing.assert_array_equal(layer, again[kind])
        share = (layer[..., 3] > 127).mean()
        assert 0.01 < share < 0.6, kind
        assert ((layer[..., 3] > 20) & (layer[..., 3] < 235)).sum() > 60, kind  # edges are coverages
    assert np.abs(np.median(layers["hand"][layers["hand"][..., 3] > 250][:, :3], 0) / SKIN - 0.9).max() < 0.25


def test_photographed_layers_are_found_beside_the_clips(tmp_path):
    """Only those that were never trained on; the mask keeps its alpha, the hand loses its wall."""
    (tmp_path / "hands").mkdir()
    (tmp_path / "masks").mkdir()
    wall = np.full((100, 100, 3), 205, np.uint8)
    cv2.ellipse(wall, (50, 60), (18, 36), 0, 0, 360, (90, 130, 190), -1)
    for k in (0, occluders.UNTRAINED_HANDS):
        cv2.imwrite(str(tmp_path / "hands" / f"{k:03d}.jpg"), wall if k else wall[:, ::-1])
    assert "photographed hand" not in occluders.layers_of(tmp_path, SKIN, 0)
    for k in range(1, occluders.UNTRAINED_HANDS):
        (tmp_path / "hands" / f"{k:03d}.jpg").touch()
    rgba = np.zeros((60, 80, 4), np.uint8)
    rgba[10:50, 10:70] = 255
    cv2.imwrite(str(tmp_path / "masks" / "N95.png"), rgba)
    found = occluders.layers_of(tmp_path, SKIN, 0)
    hand, mask = found["photographed hand"], found["mask"]
    assert (hand[..., 3] > 127).mean() == pytest.approx(np.pi * 18 * 36 / 1e4, rel=0.1)
    assert np.abs(np.median(hand[hand[..., 3] > 250][:, :3], 0) - (190, 130, 90)).max() < 8  # RGB, no wall
    assert (mask[..., 3] > 127).mean() == pytest.approx((0.62 * 60 / 80) * (0.62 * 40 / 80), rel=0.05)


def test_what_is_in_front_covers_what_the_alpha_says():
    """Outside the coverage the plate is untouched to the bit; where it is full the layer's own colour shows."""
    plate = np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype(np.uint8)
    moment = occluders.Moment("glasses", 0.0)  # worn: lies in the crop as drawn
    out, alpha = occluders.put_in_front(plate, GREEN, moment, POINTS)
    np.testing.assert_array_equal(out[alpha == 0], plate[alpha == 0])
    np.testing.assert_array_equal(out[alpha > 0.999], np.broadcast_to([0, 255, 0], (int((alpha > 0.999).sum()), 3)))
    step = np.sqrt(abs(np.linalg.det(px_from_crop(POINTS, 256)[:, :2].astype(float))))
    assert alpha.sum() == pytest.approx(80 * 140 * step**2, rel=0.03)


def test_things_come_and_go_and_worn_ones_stay():
    middle = lambda k, t: (occluders.crop_from_layer(occluders.Moment(k, t)) @ [128, 128, 1])[1] / 256  # noqa: E731
    assert middle("hand", 0.0) > 1.2 and middle("hand", 0.5) < 0.6 and middle("hand", 0.999) > 1.1
    assert {round(middle("glasses", t), 6) for t in (0.0, 0.3, 0.9)} == {0.5}
    kinds = ["a", "b", "c"]
    assert [occluders.moment_of(kinds, r, 30).kind for r in (0, 9, 10, 29)] == ["a", "a", "b", "c"]


def test_scores_of_known_mattes():
    whole = np.zeros((100, 100), bool)
    whole[10:90, 10:90] = True
    core = np.zeros_like(whole)
    core[30:80, 20:80] = True
    cover = np.zeros((100, 100), np.float32)
    cover[60:100, :] = 1
    truth = (whole & (cover < 0.5)).astype(np.float32)
    perfect = occlusion.scores(truth, cover, whole, core)
    assert perfect == {"iou": 1.0, "hidden": 1.0, "eaten": 0.0}
    hull_only = occlusion.scores(whole.astype(np.float32), cover, whole, core)
    face, front = 30 * 60, 30 * 80
    assert hull_only == {"iou": pytest.approx(face / (face + front)), "hidden": 0.0, "eaten": 0.0}
    nothing = occlusion.scores(np.zeros((100, 100), np.float32), cover, whole, core)
    assert nothing["iou"] == 0 and nothing["eaten"] == 1
    half = truth.copy()
    half[30:45] = 0
    assert occlusion.scores(half, cover, whole, core)["eaten"] == pytest.approx(0.5)
    bald = truth.copy()
    bald[10:30] = 0  # hair, perhaps: nobody knows, nobody is blamed
    assert occlusion.scores(bald, cover, whole, core) == perfect
    alpha = np.zeros((100, 100), np.float32)
    alpha[60:75] = 0.9
    assert occlusion.drawn_over(alpha, cover, whole) == pytest.approx(0.5)
    assert np.isnan(occlusion.drawn_over(alpha, 0 * cover, whole))


def test_the_core_lies_inside_the_hull_below_the_brows_and_regions_do_not_move_it():
    whole, core = occlusion.areas(POINTS, Roi(0, 0, 300, 300))
    assert core.sum() > 0.35 * whole.sum() and not (core & ~whole).any()
    assert np.flatnonzero(core.any(1))[0] > POINTS[[105, 334], 1].min() - 0.09 * np.ptp(POINTS[:, 1])
    part = occlusion.areas(POINTS, Roi(40, 20, 280, 290))
    for big, small in zip((whole, core), part, strict=True):
        assert np.mean(big[20:290, 40:280] != small) < 0.004
    values = np.arange(48, dtype=np.float32).reshape(6, 8)
    there = occlusion.in_region(values, Roi(2, 2, 10, 8), Roi(4, 4, 6, 20))
    assert there.shape == (16, 2) and there[0, 0] == values[2, 2] and there[10:].max() == 0


def test_hair_is_scored_where_the_matte_sees_a_thing():
    whole = np.zeros((100, 100), bool)
    whole[10:90, 10:90] = True
    areas = whole, whole & (np.arange(100)[:, None] > 30)
    cover, none = np.zeros((100, 100), np.float32), np.zeros((100, 100), bool)
    cover[20:60] = 1
    hidden, half = cover > 0.5, np.repeat((np.arange(100) < 50)[None], 100, 0)
    assert occlusion.hair_scores(hidden, hidden, cover, areas, "lock") == {"hair": 1, "hair_iou": 1}
    assert occlusion.hair_scores(hidden & half, hidden, cover, areas, "fringe") == {"hair": 0.5, "hair_iou": 0.5}
    # What the matte misses is not the hair's to find, but its IoU suffers.
    assert occlusion.hair_scores(hidden & half, hidden & half, cover, areas, "lock") == {"hair": 1, "hair_iou": 0.5}
    assert occlusion.hair_scores(hidden & half, hidden, cover, areas, "hand") == {"taken": 0.5}
    assert occlusion.hair_scores(hidden, hidden, cover, areas, "glasses") == {}
    assert np.isnan(occlusion.hair_scores(none, none, cover, areas, "food")["taken"])


@pytest.fixture
def item(talk, talk_perf, persona_file, tmp_path, monkeypatch):
    """Measures an item of a synthetic shot with green things in front, for a given way to see mattes."""
    from synthetic import TruthPerceiver

    from digidouble.persona import load_persona

    persona = load_persona(persona_file)

    class Keyed(TruthPerceiver):
        """Frames by the order in which they come; mattes by the colour key, or the hull."""

        keys = True

        def frame_of(self, rgb8):
            return self.__dict__.setdefault("known", {}).setdefault(self._key(rgb8), len(self.__dict__["known"]))

        def matte(self, rgb8, points_px):
            to_px = px_from_crop(points_px)
            inverse = cv2.invertAffineTransform(to_px.astype(np.float64))
            area = hull(points_px[:, :2] @ inverse[:, :2].T + inverse[:, 2])
            crop = cv2.warpAffine(rgb8, to_px.astype(np.float64), (MATTE_SIZE,) * 2, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)  # fmt: skip
            r, g, b = np.moveaxis(crop.astype(int), 2, 0)
            return np.where(self.keys & (g > 150) & (r < 110) & (b < 110), 0, area).astype(np.uint8), to_px

    shop = Workshop(tmp_path, {"a": Clip(tmp_path / "a.mp4"), "b": Clip(tmp_path / "b.mp4")})
    monkeypatch.setattr(Workshop, "plate", lambda self, name: name)
    monkeypatch.setattr(Workshop, "performance", lambda self, movie: load_performance(talk_perf))
    monkeypatch.setattr(Workshop, "pictures", lambda self, movie, start=0: iter([np.zeros((9999, 9999, 3), np.uint8)]))
    monkeypatch.setattr(Workshop, "persona", lambda self, name: persona)
    monkeypatch.setattr(occlusion, "open_footage", lambda movie: talk.footage())
    monkeypatch.setattr(occlusion, "layers_of", lambda *_: {"hand": GREEN, "glasses": GREEN})

    def measured(keys: bool):
        see = Keyed(talk, 0.4)
        see.keys = keys
        monkeypatch.setattr(occlusion, "analyse", lambda footage, out: analyse(footage, out, perceiver=see))
        return occlusion.OCCLUSION.measure(shop, Scope((Pair("a", "b"),), quick=True), "b")

    return measured


def test_a_whole_item(item):
    """A matte that sees the things scores near 1 and no double is drawn over them; the hull's row, and a blind matte, are drawn over."""
    found = item(True)
    by_row = {r.row: r.numbers for r in found.records}
    assert list(by_row) == ["mesh hull", "digidouble"]
    ours, bare = by_row["digidouble"], by_row["mesh hull"]
    assert ours["iou"] > 0.95 > 0.8 > bare["iou"] and ours["over"] < 0.03 < 0.6 < bare["over"]
    assert ours["hidden"] > 0.85 and bare["hidden"] < 0.1 and ours["lost"] == 0 and ours["flicker"] < bare["flicker"]
    assert {"iou_hand", "over_glasses", "taken"} <= set(ours) and found.pictures and ours["taken"] < 0.1
    blind = {r.row: r.numbers for r in item(False).records}
    assert blind["digidouble"]["iou"] == pytest.approx(bare["iou"], abs=0.05) and blind["digidouble"]["over"] > 0.6


def test_what_is_taken_for_hair_is_counted(item, monkeypatch):
    """Told that every colour is hair, the bench says that a mask is taken for it, which reaches past the face."""
    wide = GREEN.copy()
    wide[60:180, 10:246, 3] = 255
    monkeypatch.setattr(occlusion, "layers_of", lambda *_: {"mask": wide, "glasses": GREEN})
    bald = {r.row: r.numbers for r in item(True).records}["digidouble"]
    every = HairLook(np.full(CELLS, 255, np.uint8), np.full(3, 0.3, np.float32))
    monkeypatch.setattr(occlusion, "hair_looks", lambda casts, _: {c.plan.track.track_id: every for c in casts})
    ours = {r.row: r.numbers for r in item(True).records}["digidouble"]
    assert bald["taken"] == 0 and ours["taken"] > 0.9
    assert ours["iou"] == pytest.approx(bald["iou"]) and ours["over"] == pytest.approx(bald["over"])


def test_a_bare_sample_has_the_hull_for_a_matte(talk_perf):
    track = load_performance(talk_perf).track("main")
    s = track.sample(5)
    gone = replace(s, matte=np.zeros_like(s.matte))
    inside = occlusion.bare(gone)
    assert inside.matte.max() == 255 and 0.2 < (inside.matte > 127).mean() < 0.7
    wrapped = occlusion.HullStore(track.store).sample(track.track_id, 5)
    np.testing.assert_array_equal(wrapped.matte, inside.matte)


def test_items_are_bare_faces_or_plates(tmp_path):
    clips = {n: Clip(tmp_path / f"{n}.mp4") for n in ("emotion_sad", "crying_man", "x", "y")}
    scope = Scope((Pair("x", "y"),))
    assert occlusion.OCCLUSION.items(Workshop(tmp_path, clips), scope) == ["emotion_sad", "crying_man"]
    other = Workshop(tmp_path, {n: clips[n] for n in "xy"})
    assert occlusion.OCCLUSION.items(other, scope) == ["y"]

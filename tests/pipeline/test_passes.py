"""Passes: they go together again, agree with mesh, texture and camera, and every frame has them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import OpenEXR
import pytest
from scenes import person, persona_of
from synthetic import frame_from_linear

from digidouble.deliver import cryptomatte
from digidouble.deliver.labels import read_labels
from digidouble.deliver.passes import layer_names
from digidouble.deliver.settings import DeliverySettings
from digidouble.errors import DigidoubleError, OutputError
from digidouble.farm import RenderSettings, render_shot
from digidouble.footage import MemoryFootage, open_footage
from digidouble.perception.hair import CELLS, HairLook
from digidouble.performance import load_performance
from digidouble.pipeline import hair_looks, prepare, render_frame, render_passes
from digidouble.render import LookSettings, place
from digidouble.schema.colour import linear_from_frame
from digidouble.schema.frame import Roi
from digidouble.schema.mesh import face_model
from digidouble.schema.time import FrameRange

SIZE = (200, 176)
WHOLE = Roi(0, 0, *SIZE)
UNMARKED = DeliverySettings(visible_label=False, label_waiver_reason="test of pixels")
FRAMES = FrameRange(8, 12)
HALF = 2.0**-10  # relative step of a half float, twice over


def channels(path) -> dict[str, np.ndarray]:
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return {name: np.array(c.pixels) for name, c in file.channels().items()}


def stacked(all_channels, layer, names) -> np.ndarray:
    return np.dstack([all_channels[f"{layer}.{n}"].astype(np.float32) for n in names])


@pytest.fixture(scope="module")
def perf(talk_perf):
    return load_performance(talk_perf)


@pytest.fixture(scope="module")
def made(talk, perf, persona_b, tmp_path_factory):
    """Frames 8 to 11 with passes -> (folder of the passes, result, {frame: channels})."""
    folder = tmp_path_factory.mktemp("passes")
    settings = RenderSettings(workers=2, frame_range=FRAMES, passes=folder / "passes")
    result = render_shot(talk.footage(), perf, {"main": persona_b}, folder / "out.mkv", settings, UNMARKED)
    return folder, result, {i: channels(folder / "passes" / f"out.{i:04d}.exr") for i in FRAMES}


def test_frames_are_the_same_with_and_without(talk, perf, persona_b):
    casts = prepare(perf, {"main": persona_b})
    for i in (0, 9, 21):
        plain, layers = render_frame(casts, talk.frames[i])
        frame, again, _ = render_passes(casts, talk.frames[i])
        assert all((a == b).all() for a, b in zip(plain.planes, frame.planes, strict=True))
        assert (layers[0].rgb == again[0].rgb).all() and (layers[0].alpha == again[0].alpha).all()


def test_every_frame_has_its_files(made):
    folder, result, _ = made
    names = sorted(p.name for p in (folder / "passes").iterdir())
    wanted = [f"out.{i:04d}.{kind}" for i in FRAMES for kind in ("exr", "json")]
    assert names == sorted([*wanted, "out.nk", "out.exr.delivery.json"])
    assert result.passes.frame_count == 4 and len(result.passes.files) == 9
    assert read_labels(folder / "passes" / "out.0008.exr") == result.delivered.labels
    assert read_labels(folder / "passes" / "out.0008.exr").aigc is not None


def test_patch_over_the_plate_is_the_comp(made, talk):
    for i, c in made[2].items():
        plate = linear_from_frame(talk.frames[i], WHOLE)
        patch = stacked(c, "b", "RGBA")
        comp = np.dstack([c[n].astype(np.float32) for n in "RGB"])
        over = patch[..., :3] + (1 - patch[..., 3:]) * plate
        assert np.abs(over - comp).max() <= 2 * HALF * max(1.0, comp.max())
        outside = patch[..., 3] == 0
        assert (comp[outside] == plate[outside].astype(np.float16)).all() and (patch[outside] == 0).all()
        assert 0.05 < (patch[..., 3] > 0.9).mean() < 0.6


def test_the_comp_is_the_delivered_frame_to_one_code(made, talk):
    with open_footage(made[0] / "out.mkv") as footage:
        for n, frame in enumerate(footage.frames()):
            c = made[2][8 + n]
            shown, comp = linear_from_frame(frame, WHOLE), np.dstack([c[k].astype(np.float32) for k in "RGB"])
            inside = c["b.A"] == 1
            # One code of an 8-bit signal in light, Y'CbCr 4:2:0 mixing neighbours' chroma: loose, but no other picture fits.
            assert np.abs(np.sqrt(np.maximum(shown, 0)) - np.sqrt(np.maximum(comp, 0)))[inside].mean() < 0.01


def test_mattes_split_the_alpha(made, perf):
    for i, c in made[2].items():
        core, occl, alpha = (c[n].astype(np.float32) for n in ("b_matte.core", "b_matte.occl", "b.A"))
        presence = perf.tracks[0].shown_at(i)
        assert np.abs((core - occl) * presence - alpha).max() < 0.003  # 1/512 is dropped from the alpha
        assert core.max() > 0.99 and (core >= occl - HALF).all()


class _Covered:
    """A track's samples with the right half of the picture hidden by something."""

    def __init__(self, track) -> None:
        self._track = track

    def sample(self, track_id: int, index: int):
        s = self._track.store.sample(1, index)
        x = (np.arange(128) * s.matte_px_from_crop[0, 0] + s.matte_px_from_crop[0, 2])[None]
        return replace(s, matte=np.where(x > SIZE[0] / 2, 0, s.matte).astype(np.uint8))


@pytest.mark.parametrize(("chance", "share"), [(255, 1.0), (0, 0.0), (None, 0.0)])
def test_hair_is_a_part_of_what_is_held_out_and_changes_nothing_else(
    talk, perf, persona_b, tmp_path, monkeypatch, chance, share
):
    """Told that every colour is hair, that none is, or that this performer has none."""
    look = None if chance is None else HairLook(np.full(CELLS, chance, np.uint8), np.full(3, 0.5, np.float32))
    monkeypatch.setattr("digidouble.pipeline.hair_look", lambda views: look)
    track = perf.tracks[0]
    covered = replace(perf, tracks=(replace(track, store=_Covered(track)),))
    settings = RenderSettings(workers=1, frame_range=FrameRange(9, 10), passes=tmp_path / "p")
    render_shot(talk.footage(), covered, {"main": persona_b}, tmp_path / "o.mkv", settings, UNMARKED)
    c = channels(tmp_path / "p" / "o.0009.exr")
    core, occl, hair, alpha = (c[n].astype(np.float32) for n in ("b_matte.core", "b_matte.occl", "b_matte.hair", "b.A"))
    assert (occl > 0.5).sum() > 1000 and (hair <= occl).all()
    assert np.abs((core - occl) * track.shown_at(9) - alpha).max() < 0.003  # whatever is hair
    assert hair[occl > 0.5].sum() / occl[occl > 0.5].sum() == pytest.approx(share, abs=0.08)
    (double,) = json.loads((tmp_path / "p" / "o.0009.json").read_text())["doubles"]
    assert double["hair_known"] is (look is not None)
    render_shot(
        talk.footage(), covered, {"main": persona_b}, tmp_path / "n.mkv", replace(settings, passes=None), UNMARKED
    )
    with open_footage(tmp_path / "o.mkv") as movie, open_footage(tmp_path / "n.mkv") as without:
        a, b = movie.frame(0).planes, without.frame(0).planes
        assert all((one == other).all() for one, other in zip(a, b, strict=True))
        plain, _ = render_frame(prepare(covered, {"main": persona_b}), talk.frames[9], mark=None)
        outside = np.s_[:, : int(track.sample(9).points_px[:, 0].min()) - 8]
        assert (plain.planes[0][outside] == a[0][outside]).all()


HAIR_LINEAR = (0.055, 0.03, 0.018)
HEAD = cv2.ellipse(np.zeros(SIZE[::-1], np.float32), (100, 80), (78, 88), 0, 0, 360, 1.0, -1)


class _KnowsTheHead:
    """In place of the person segmenter: the ellipse that is painted, in every frame."""

    def matte_256(self, rgb8):
        return HEAD


def with_hair(talk) -> MemoryFootage:
    """The shot with hair around the face, and over its right half."""
    frames = []
    for frame, visible in zip(talk.frames, talk.visible, strict=True):
        linear = linear_from_frame(frame, WHOLE).astype(np.float64)
        share = HEAD * (1 - visible[0])
        share[:, SIZE[0] // 2 :] = np.maximum(share, HEAD)[:, SIZE[0] // 2 :]
        grain = np.random.default_rng(frame.index).normal(1, 0.05, share.shape)[..., None]
        frames.append(frame_from_linear(linear + share[..., None] * (HAIR_LINEAR * grain - linear), frame.index))
    return MemoryFootage(frames, talk.footage().shot.rate)


def test_hair_is_learnt_from_the_plate_the_person_and_the_track(talk, perf, persona_b, tmp_path, monkeypatch):
    """A few frames of the whole track, whatever is delivered; nobody is looked for where nobody is cast."""
    monkeypatch.setattr("digidouble.pipeline.PersonSegmenter", _KnowsTheHead)
    covered = replace(perf, tracks=(replace(perf.tracks[0], store=_Covered(perf.tracks[0])),))
    casts = prepare(covered, {"main": persona_b})
    plate = with_hair(talk)
    first, again = hair_looks(casts, plate), hair_looks(casts, plate)
    assert set(first) == set(again) == {1} and first[1].sha256 == again[1].sha256
    assert hair_looks([], plate) == {}
    frame, layers, passes = render_passes(casts, plate.frame(9), hair=first)
    plain, _ = render_frame(casts, plate.frame(9))
    assert all((a == b).all() for a, b in zip(plain.planes, frame.planes, strict=True))
    assert passes.faces[0].hair.shape == layers[0].alpha.shape
    settings = RenderSettings(workers=1, frame_range=FrameRange(9, 10), passes=tmp_path / "p")
    render_shot(plate, covered, {"main": persona_b}, tmp_path / "o.mkv", settings, UNMARKED)
    c = channels(tmp_path / "p" / "o.0009.exr")
    occl, hair = (c[n].astype(np.float32) for n in ("b_matte.occl", "b_matte.hair"))
    assert (occl > 0.5).sum() > 1000 and hair[occl > 0.5].sum() / occl[occl > 0.5].sum() > 0.85
    (double,) = json.loads((tmp_path / "p" / "o.0009.json").read_text())["doubles"]
    assert double["hair_known"] is True


def test_hair_is_looked_for_when_all_else_is_settled(talk, perf, persona_b, tmp_path, monkeypatch):
    """Not before the folder of the passes is known to do; its time is booked."""
    asked = []
    monkeypatch.setattr("digidouble.farm.local.hair_looks", lambda casts, plate: asked.append(plate) or {})
    settings = RenderSettings(workers=1, frame_range=FrameRange(9, 10), passes=tmp_path / "file")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="is a file"):
        render_shot(talk.footage(), perf, {"main": persona_b}, tmp_path / "o.mkv", settings, UNMARKED)
    assert not asked
    plain = render_shot(
        talk.footage(), perf, {"main": persona_b}, tmp_path / "n.mkv", replace(settings, passes=None), UNMARKED
    )
    assert not asked and "hair" not in plain.stages
    result = render_shot(
        talk.footage(), perf, {"main": persona_b}, tmp_path / "o.mkv", replace(settings, passes=tmp_path / "p"), UNMARKED
    )  # fmt: skip
    assert len(asked) == 1 and "hair" in result.stages


def test_nobody_has_hair_where_the_segmenter_sees_nobody(talk, perf, persona_b, monkeypatch):
    class SeesNobody:
        def matte_256(self, rgb8):
            return 0 * HEAD

    monkeypatch.setattr("digidouble.pipeline.PersonSegmenter", SeesNobody)
    assert hair_looks(prepare(perf, {"main": persona_b}), with_hair(talk)) == {}


def test_albedo_shading_specular_and_refine_make_the_patch(made):
    for c in made[2].values():
        parts = [stacked(c, n, "RGB") for n in ("albedo", "shading", "specular", "refine")]
        colour = parts[0] * parts[1] + parts[2] + parts[3]
        patch = stacked(c, "b", "RGBA")
        assert np.abs(colour * patch[..., 3:] - patch[..., :3]).max() < 4 * HALF * max(1.0, patch.max())
        inside = patch[..., 3] > 0.5
        bright = parts[0][inside].mean()
        assert np.abs(parts[3][inside]).mean() < 0.2 * bright  # blur and grain are a correction, not the picture


def test_without_blur_and_grain_nothing_is_left_to_refine(talk, perf, persona_b):
    look = LookSettings(detail_match=False, grain=False, motion_blur=False)
    casts = prepare(perf, {"main": persona_b}, look)
    face = render_passes(casts, talk.frames[10])[2].faces[0]
    s = face.surface
    assert np.abs(s.albedo * s.shading + s.specular - face.layer.rgb).max() < 1e-5
    assert (s.albedo[face.layer.triangle >= 0] > 0).any() and (s.shading[face.layer.triangle < 0] == 0).all()


def test_shading_is_the_light_at_the_points(talk, perf, persona_b):
    """Independent of the shader: gains of the points times creases, carried by hand at skin pixels."""
    from digidouble.render.draw import mesh_in_place

    casts = prepare(perf, {"main": persona_b}, LookSettings(wrinkles=0.0))
    cast, i = casts[0], 10
    face = render_passes(casts, talk.frames[i])[2].faces[0]
    plate = linear_from_frame(talk.frames[i], face.layer.roi)
    mesh = mesh_in_place(cast, i, plate, face.layer.roi, face.points_px)
    ys, xs = np.nonzero((face.layer.triangle >= 0) & (face.layer.triangle < len(face_model().triangles)))
    model, checked = face_model(), 0
    for y, x in list(zip(ys, xs, strict=True))[::37]:
        corners = model.all_triangles[face.layer.triangle[y, x]]
        if mesh.vertex[corners, 6].any():
            continue  # lips and lids mix with the plate
        w1, w2 = face.layer.barycentric[y, x]
        gain = (
            (1 - w1 - w2) * mesh.vertex[corners[0], 2:5]
            + w1 * mesh.vertex[corners[1], 2:5]
            + w2 * mesh.vertex[corners[2], 2:5]
        )
        np.testing.assert_allclose(face.surface.shading[y, x], gain, rtol=2e-3)
        checked += 1
    assert checked > 50


def test_uv_finds_the_albedo_in_the_atlas(made, perf, persona_b):
    """A picture of UV, read as an STMap over the atlas the cast was prepared with, is the albedo on skin."""
    cast = prepare(perf, {"main": persona_b})[0]
    for i, c in made[2].items():
        a, b, mix = cast.skin(perf.tracks[0].row(i), perf.tracks[0].sample(i).points_px)
        atlas = a.atlas + np.float32(mix) * (b.atlas - a.atlas)
        u, v = c["uv.u"], 1 - c["uv.v"]
        found = cv2.remap(atlas, u * atlas.shape[1] - 0.5, v * atlas.shape[0] - 0.5, cv2.INTER_LINEAR)
        albedo, skin = stacked(c, "albedo", "RGB"), c["b.A"] > 0.99
        error = np.abs(found - albedo)[skin].max(axis=-1)
        assert np.quantile(error, 0.75) < 0.01  # a quarter for lids, lips, eyes and mouth, which mix with the plate
        assert np.abs(np.roll(found, 6, 1) - albedo)[skin].mean() > 3 * error.mean()


def test_motion_is_the_meshs(made, perf, persona_b):
    """Points of the mesh, found in the picture by their own place, move as the passes say."""
    cast = prepare(perf, {"main": persona_b})[0]
    for i, c in made[2].items():
        now = place(cast, i)
        for name, step in (("forward", 1), ("backward", -1)):
            then = place(cast, i + step)
            got, wanted = [], []
            for p in (1, 4, 195, 50, 280, 151, 205, 425):  # nose, cheeks, forehead
                x, y = np.rint(now[p, :2]).astype(int)
                got.append([c[f"{name}.u"][y, x], -c[f"{name}.v"][y, x].astype(np.float32)])
                wanted.append(then[p, :2] - now[p, :2])
            np.testing.assert_allclose(got, wanted, atol=0.2)  # read up to 0.7 px beside the point
            assert np.abs(wanted).max() > 0.2


def test_depth_and_normals_are_the_heads(made, perf):
    for i, c in made[2].items():
        pose, inside = perf.tracks[0].pose(i), c["b.A"] > 0.9
        distance = 1.2 * SIZE[0] / pose.px_per_cm
        assert np.abs(c["depth.Z"][inside] - distance).max() < 12 and (c["depth.Z"][c["b.A"] == 0] >= 1e9).any()
        normal = stacked(c, "N", "XYZ")[inside]
        np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=0.005)
        assert normal[:, 2].min() > -0.25  # carried over pixels from the points, they lean past the edge a little
        # The nose is nearer than the cheeks, and a normal leans the way its depth falls.
        ys, xs = np.nonzero(inside)
        assert np.corrcoef(xs, normal[:, 0])[0, 1] > 0.7
        assert np.corrcoef(-ys, normal[:, 1])[0, 1] > 0.2  # less clearly: nose and chin face up and down by turns
        conf = c["conf.Y"][inside]
        assert 0 < conf.mean() <= 1


def test_the_sidecar_agrees_with_camera_and_mesh(made, perf, talk):
    for i in FRAMES:
        record = json.loads((made[0] / "passes" / f"out.{i:04d}.json").read_text())
        double = record["doubles"][0]
        assert (record["schema"], record["index"], double["track"], double["layer"]) == (
            "digidouble.frame/1",
            i,
            1,
            "b",
        )
        assert record["plate"]["sha256"] == perf.shot.sha256 and record["passes"] == f"out.{i:04d}.exr"
        matrix, focal = np.array(double["cam_from_head"]), record["camera"]["focal_px"]
        np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-4)
        # The head's origin through the pinhole lands where the pose says.
        x, y, z = matrix[:3, 3]
        np.testing.assert_allclose(
            [SIZE[0] / 2 - focal * x / z, SIZE[1] / 2 + focal * y / z], double["pose"]["origin_px"][:2], atol=1e-2
        )
        assert np.array(double["landmarks_px"]).shape == np.array(double["double_px"]).shape == (478, 3)
        assert np.array(double["light_sh"]).shape == (9, 3) and 0 < double["confidence"] <= 1
        assert set(double["expression"]) <= {n for names in face_model().action_names for n in names.split("/")}


# --- Cryptomatte ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "seed", "wanted"),
    [
        (b"", 0, 0), (b"", 1, 0x514E28B7), (b"test", 0, 0xBA6BD213), (b"test", 0x9747B28C, 0x704B81DC),
        (b"Hello, world!", 0x9747B28C, 0x24884CBA), (b"aaa", 0x9747B28C, 0x283E0130),
        (b"The quick brown fox jumps over the lazy dog", 0, 0x2E4FF723),
    ],
)  # fmt: skip
def test_murmur3_published_values(data, seed, wanted):
    assert cryptomatte.murmur3_32(data, seed) == wanted


def test_ids_are_normal_floats():
    names = [f"n{i}" for i in range(1000)]
    raw = np.array([cryptomatte.murmur3_32(n.encode()) for n in names], np.uint32).view(np.float32)
    ids = np.array([cryptomatte.id_of(n) for n in names])
    bad = ~np.isfinite(raw) | (np.abs(raw) < np.finfo(np.float32).tiny)
    assert bad.any() and np.isfinite(ids).all() and (np.abs(ids) >= np.finfo(np.float32).tiny).all()
    assert (ids[~bad] == raw[~bad]).all()


def test_cryptomatte_reads_back(made):
    folder, _, frames = made
    with OpenEXR.File(str(folder / "passes" / "out.0009.exr"), header_only=True) as file:
        header = dict(file.header())
    key = next(k for k in header if k.endswith("/manifest")).removesuffix("/manifest")
    assert re.fullmatch(r"cryptomatte/[0-9a-f]{7}", key)
    assert key.endswith(f"{cryptomatte.murmur3_32(header[key + '/name'].encode()):08x}"[:7])
    manifest = json.loads(header[key + "/manifest"])
    assert set(manifest) == {"b", "plate"} and header[key + "/hash"] == "MurmurHash3_32"
    c, name = frames[9], header[key + "/name"]
    coverage = {n: np.zeros(SIZE[::-1], np.float32) for n in manifest}
    for who, bits in manifest.items():
        for pair in ("RG", "BA"):
            same = c[f"{name}00.{pair[0]}"].view(np.uint32) == int(bits, 16)
            coverage[who] += np.where(same, c[f"{name}00.{pair[1]}"], 0)
    np.testing.assert_allclose(coverage["b"] + coverage["plate"], 1, atol=1e-6)
    np.testing.assert_allclose(coverage["b"], c["b.A"], atol=HALF)
    assert (c[f"{name}00.G"] >= c[f"{name}00.A"]).all()


def test_coverage_of_mattes_over_each_other_sums_to_one():
    mattes = np.random.default_rng(0).uniform(0, 1, (4, 6, 5)).astype(np.float32)
    out = cryptomatte.layers(["a", "b", "c", "d"], mattes)
    assert [layer.name for layer in out] == [f"CryptoDouble{n:02d}" for n in range(3)]
    np.testing.assert_allclose(sum(layer.pixels[..., 1] + layer.pixels[..., 3] for layer in out), 1, atol=1e-6)
    second = sum(
        np.where(layer.pixels[..., k] == cryptomatte.id_of("b"), layer.pixels[..., k + 1], 0)
        for layer in out
        for k in (0, 2)
    )
    np.testing.assert_allclose(second, mattes[1] * (1 - mattes[0]), atol=1e-6)


# --- blanks, names, failures ------------------------------------------------------------------------------------------


def test_frames_without_a_face_are_blank_not_missing(talk, perf, persona_b, tmp_path):
    track = perf.tracks[0]
    absent = track.presence.copy()
    absent[10:] = 0
    gone = replace(perf, tracks=(replace(track, presence=absent),))
    settings = RenderSettings(workers=1, frame_range=FRAMES, passes=tmp_path / "p")
    render_shot(talk.footage(), gone, {"main": persona_b}, tmp_path / "o.mkv", settings, UNMARKED)
    shown, blank = channels(tmp_path / "p" / "o.0009.exr"), channels(tmp_path / "p" / "o.0010.exr")
    assert set(shown) == set(blank) and (shown["b.A"] > 0).any()
    for name, plane in blank.items():
        if name in "RGB":
            i = "RGB".index(name)
            assert (plane == linear_from_frame(talk.frames[10], WHOLE)[..., i].astype(np.float16)).all()
        elif name.startswith("Crypto"):
            assert plane.ptp() == 0 if hasattr(plane, "ptp") else np.ptp(plane) == 0
        else:
            assert (plane == {"A": 1, "depth.Z": np.float32(1e10)}.get(name, 0)).all(), name
    assert json.loads((tmp_path / "p" / "o.0010.json").read_text())["doubles"] == []
    # The last frame shown has no next one: no motion, rather than a jump.
    assert (shown["forward.u"] == 0).all() and (shown["backward.u"] != 0).any()


def test_two_doubles(talk, perf, persona_b, tmp_path):
    """The same face twice, one behind the other: a layer each; together they give the comp."""
    track = perf.tracks[0]
    far = replace(track, track_id=2, weight=0.0, store=_Shifted(track, 14))
    both = replace(perf, tracks=(track, far))
    other = persona_of(person(11), "b")
    casts = {"1": persona_b, "2": other}
    settings = RenderSettings(workers=1, frame_range=FrameRange(10, 11), passes=tmp_path / "p")
    render_shot(talk.footage(), both, casts, tmp_path / "o.mkv", settings, UNMARKED)
    c = channels(tmp_path / "p" / "o.0010.exr")
    over = linear_from_frame(talk.frames[10], WHOLE)
    comp = np.dstack([c[n].astype(np.float32) for n in "RGB"])
    for name in ("b_t2", "b_t1"):  # farthest first
        patch = stacked(c, name, "RGBA")
        over = patch[..., :3] + (1 - patch[..., 3:]) * over
    assert np.abs(over - comp).max() < 4 * HALF * max(1.0, comp.max())


class _Shifted:
    """A track's samples moved to the right, and further away."""

    def __init__(self, track, dx: float) -> None:
        self._track, self._dx = track, dx

    def sample(self, track_id: int, index: int):
        s = self._track.store.sample(1, index)
        points = (s.points_px + np.array([self._dx, 0, 40])).astype(np.float32)
        place_of = s.matte_px_from_crop + np.array([[0, 0, self._dx], [0, 0, 0]])
        return replace(s, points_px=points, matte_px_from_crop=place_of.astype(s.matte_px_from_crop.dtype))


def test_layer_names():
    assert layer_names([(1, "Ada Lovelace"), (2, "Ben")]) == {1: "ada_lovelace", 2: "ben"}
    assert layer_names([(1, "Ada"), (2, "Ada")]) == {1: "ada_t1", 2: "ada_t2"}
    assert layer_names([(1, "艾达"), (2, "N"), (3, "depth"), (4, "7")]) == {
        1: "double_t1",
        2: "n_t2",
        3: "depth_t3",
        4: "7_t4",
    }


def test_no_name_is_anothers_file():
    """Names that end as the writers' own files do, or are those files' names."""
    names = layer_names(
        [(1, "A"), (2, "A worn"), (3, "A matte"), (4, "comp"), (5, "UV"), (6, "A matte worn"), (7, "n")]
    )
    assert names[1] == "a" and names[2] == "a_worn_t2" and names[3] == "a_matte_t3" and names[6] == "a_matte_worn_t6"
    files = [f"{name}{part}" for name in names.values() for part in ("", "_matte", "_worn")]
    files += ["comp", "albedo", "n", "uv", "conf"]  # there are disks on which N and n are one file
    assert len(set(files)) == len(files)


def test_png16_of_a_double_whose_name_holds_a_suffix(talk, perf, persona_b, tmp_path):
    settings = RenderSettings(workers=1, frame_range=FrameRange(9, 10), passes=tmp_path / "p", passes_format="png16")
    named = replace(persona_b, name="A matte b")
    render_shot(talk.footage(), perf, {"main": named}, tmp_path / "o.mkv", settings, UNMARKED)
    names = {p.name for p in (tmp_path / "p").glob("o.a_*.png")}
    assert names == {f"o.a_matte_b{part}.0009.png" for part in ("", "_matte", "_worn")}


def test_png16(talk, perf, persona_b, tmp_path):
    settings = RenderSettings(workers=1, frame_range=FrameRange(9, 10), passes=tmp_path / "p", passes_format="png16")
    render_shot(talk.footage(), perf, {"main": persona_b}, tmp_path / "o.mkv", settings, UNMARKED)
    names = {p.name for p in (tmp_path / "p").glob("*.png")}
    assert names == {f"o.{n}.0009.png" for n in ("comp", "b", "b_matte", "b_worn", "albedo", "N", "uv", "conf")}
    patch = cv2.imread(str(tmp_path / "p" / "o.b.0009.png"), cv2.IMREAD_UNCHANGED)
    assert patch.dtype == np.uint16 and patch.shape == (*SIZE[::-1], 4) and patch[..., 3].max() == 65535
    assert read_labels(tmp_path / "p" / "o.b.0009.png").aigc is not None


def test_the_comp_carries_the_visible_label_when_the_delivery_does(talk, perf, persona_b, tmp_path):
    settings = RenderSettings(workers=1, frame_range=FrameRange(9, 10), passes=tmp_path / "p")
    render_shot(talk.footage(), perf, {"main": persona_b}, tmp_path / "o.mkv", settings, DeliverySettings())
    c = channels(tmp_path / "p" / "o.0009.exr")
    plate = linear_from_frame(talk.frames[9], WHOLE)
    comp = np.dstack([c[n].astype(np.float32) for n in "RGB"])
    assert (np.abs(comp - plate).max(-1)[c["b.A"] == 0] > 0.1).sum() > 100


def test_nothing_is_left_when_a_render_fails(talk, perf, persona_b, tmp_path):
    plate = talk.footage()

    class Broken(type(plate)):
        def _stream(self, frame_range):
            for frame in super()._stream(frame_range):
                if frame.index == 10:
                    raise DigidoubleError("torn")
                yield frame

    plate.__class__ = Broken
    with pytest.raises(DigidoubleError, match="torn"):
        settings = RenderSettings(workers=2, frame_range=FRAMES, passes=tmp_path / "p")
        render_shot(plate, perf, {"main": persona_b}, tmp_path / "o.mkv", settings, UNMARKED)
    assert list(tmp_path.iterdir()) == []


# --- Nuke -------------------------------------------------------------------------------------------------------------


def nodes_of(script: str) -> tuple[list[tuple[str, dict[str, str]]], list[str]]:
    """(nodes, what stays on the stack), by the rules of a .nk file: a node pops its inputs and pushes itself."""
    nodes, stack, names = [], [], {}
    lines = iter(script.splitlines())
    for line in lines:
        if line.startswith(("#!", "version")):
            continue
        if m := re.fullmatch(r"set (\w+) \[stack 0\]", line):
            names[m[1]] = stack[-1]
        elif m := re.fullmatch(r"push \$(\w+)", line):
            stack.append(names[m[1]])
        else:
            kind = re.fullmatch(r"(\w+) \{", line)[1]
            knobs = {}
            for body in lines:
                if body == "}":
                    break
                key, value = re.fullmatch(r" (\w+) (\S.*)", body).groups()
                assert re.fullmatch(r'"(\\.|[^"\\\[\]$])*"|[\w.+-]+', value), value
                knobs[key] = value
            inputs = int(knobs.get("inputs", 0 if kind == "Root" else 1))
            taken = [stack.pop() for _ in range(inputs)]
            knobs["from"] = taken
            nodes.append((kind, knobs))
            if kind != "Root":
                stack.append(knobs["name"])
    return nodes, stack


def test_the_nuke_script_is_a_tree_that_ends_in_a_write(made):
    nodes, _ = nodes_of((made[0] / "passes" / "out.nk").read_text())
    by_name = {k.get("name", kind): (kind, k) for kind, k in nodes}
    assert by_name["Comp"][0] == "Write" and by_name["Comp"][1]["from"] == ["over_b"]
    assert by_name["over_b"][1]["from"] == ["patch_b", "Plate"]  # A then B
    assert by_name["patch_b"][1]["from"] == ["Passes"] and by_name["patch_b"][1]["in"] == "b"
    assert by_name["Passes"][1]["first"] == "8" and by_name["Passes"][1]["last"] == "11"
    assert len({k["name"] for _, k in nodes if "name" in k}) == len(nodes) - 1
    assert by_name["matte_b"][1]["from"] == ["Passes"] and by_name["matte_b"][1]["in"] == "b_matte"
    there = {n.rpartition(".")[0] for n in made[2][9]}
    assert {k["in"] for kind, k in nodes if kind == "Shuffle"} <= there


def test_nuke_paths_are_plain_text():
    from digidouble.deliver.nuke import quoted

    assert quoted('a [exec rm] $x "b"\n') == '"a \\[exec rm\\] \\$x \\"b\\"_"'


def test_openimageio_reads_every_layer(made):
    """Another reader than the library that wrote the file."""
    oiio = pytest.importorskip("OpenImageIO")
    path = made[0] / "passes" / "out.0009.exr"
    picture = oiio.ImageInput.open(str(path))
    spec = picture.spec()
    assert (spec.width, spec.height, spec.getattribute("compression")) == (*SIZE, "zip")
    types = dict(zip(spec.channelnames, spec.channelformats or [spec.format] * spec.nchannels, strict=True))
    full = {n for n, kind in types.items() if str(kind) == "float"}
    assert {n for n in types if n.startswith(("Crypto", "uv", "depth"))} == full
    pixels = picture.read_image("float")
    for name, plane in made[2][9].items():
        np.testing.assert_array_equal(pixels[..., spec.channelnames.index(name)], plane.astype(np.float32))
    attributes = {a.name for a in spec.extra_attribs}
    assert {"AIGC", "chromaticities", "FramesPerSecond"} <= attributes | {"FramesPerSecond"} and "AIGC" in attributes
    assert any(a.endswith("/manifest") for a in attributes)

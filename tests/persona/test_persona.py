"""Persona: unwrapping and de-lighting of pictures whose albedo and light are known, and the file on disk."""

from __future__ import annotations

import dataclasses
from datetime import date

import cv2
import numpy as np
import pytest
from scenes import consent, look_at, person, persona_of
from synthetic import FRONT_LIGHT, still

from digidouble.errors import ConsentError, DamagedAsset, SettingsError
from digidouble.perception.uvgrid import uv_grid
from digidouble.persona import PersonaSettings, build_persona, load_persona, save_persona
from digidouble.persona.atlas import _from_features, atlas_size, completed, mirrored, unwrap
from digidouble.persona.temper import tempered
from digidouble.schema.capture import CaptureSet
from digidouble.schema.mesh import face_model
from digidouble.schema.persona import PersonaSource

LUMA = np.array([0.2126, 0.7152, 0.0722])
SIZE = 192


def lit(x: float) -> np.ndarray:
    light = FRONT_LIGHT.copy()
    light[1] = x
    return light


def one_look(yaw=0.0, light=FRONT_LIGHT, seed=7):
    return look_at(still(person(seed), 1, (100.0, 68.0), yaw_deg=np.array([yaw])), light_sh=light)


def capture_of(*looks) -> CaptureSet:
    looks = tuple(dataclasses.replace(k, source=i) for i, k in enumerate(looks))
    return CaptureSet(consent(), looks, tuple(PersonaSource(f"{i}.png", "0" * 64, 0) for i in range(len(looks))))


def side_ratio(atlas: np.ndarray, where: np.ndarray) -> float:
    """log luminance of the subject's left half of the skin over the right half."""
    y, u = atlas.astype(float) @ LUMA, np.arange(atlas.shape[1])[None] / atlas.shape[1]
    return float(np.log(y[where & (u > 0.55)].mean() / y[where & (u < 0.45)].mean()))


def test_unwrap_finds_the_skin_that_was_drawn():
    """Under even light the unwrapped look is the drawn albedo, up to one gain per channel."""
    flat = np.zeros((9, 3))
    flat[0] = 1.0
    colour, confidence = unwrap(one_look(light=flat), SIZE)
    truth = cv2.resize(person(7).albedo, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    use = uv_grid(SIZE).skin & (confidence > 0.9)
    assert use.sum() > 5000
    error = colour[use] / truth[use] - 1
    assert abs(np.median(error)) < 0.02 and np.quantile(np.abs(error), 0.9) < 0.12


def test_confidence_knows_what_was_not_seen():
    look = one_look(yaw=35.0)
    _, confidence = unwrap(look, SIZE)
    skin, u = uv_grid(SIZE).skin, np.arange(SIZE)[None] / SIZE
    near, far = confidence[skin & (u < 0.35)].mean(), confidence[skin & (u > 0.65)].mean()
    assert near > far + 0.3, (near, far)  # turned to the left: the right cheek is seen
    covered = dataclasses.replace(look, matte=np.zeros_like(look.matte))
    grid = uv_grid(SIZE)
    from digidouble.schema.mesh import face_model

    assert unwrap(covered, SIZE)[1][grid.triangle < len(face_model().triangles)].max() == 0


@pytest.mark.parametrize("side", [0.5, -0.5])
def test_side_light_is_divided_out(side):
    """A lamp from one side: the picture's halves differ by a third or more, the albedo's by less than half of that."""
    look = one_look(light=lit(side))
    persona = build_persona(capture_of(look), "p", PersonaSettings(atlas_px=SIZE))
    raw, confidence = unwrap(look, SIZE)
    where = uv_grid(SIZE).skin & (confidence > 0.3)
    before, after = side_ratio(raw, where), side_ratio(persona.keys[0].albedo, where)
    drawn = side_ratio(cv2.resize(person(7).albedo, (SIZE, SIZE)), where)
    assert abs(before - drawn) > 0.25 and np.sign(before - drawn) == np.sign(side)
    assert abs(after - drawn) < 0.5 * abs(before - drawn), (before, after, drawn)


def test_lights_from_both_sides_give_nearly_the_same_person():
    a, b = (
        build_persona(capture_of(one_look(light=lit(x))), "p", PersonaSettings(atlas_px=SIZE))
        .keys[0]
        .albedo.astype(float)
        for x in (0.45, -0.45)
    )
    raw_a, raw_b = (unwrap(one_look(light=lit(x)), SIZE)[0].astype(float) for x in (0.45, -0.45))
    where = uv_grid(SIZE).skin & (unwrap(one_look(), SIZE)[1] > 0.5)

    def apart(x, y):
        return float(np.abs(np.log((x[where] + 1e-3) / (y[where] + 1e-3))).mean())

    assert apart(a, b) < 0.5 * apart(raw_a, raw_b), (apart(a, b), apart(raw_a, raw_b))


def test_a_brow_cut_off_by_hair_runs_out_and_a_fill_has_no_line_beside_it():
    """Hair hides both temples down to a straight line; the skin beside it carries hair's shade in a narrow rim."""
    size, brow = 256, (slice(44, 58), slice(0, 256))
    skin = np.full((size, size, 3), (0.4, 0.3, 0.25), np.float32)
    skin[brow] = 0.05
    edge = 76  # in the brow's outer third: the eye's corner is at about 64
    confidence = np.zeros((size, size), np.float32)
    confidence[:, edge : size - edge] = 1
    skin[90:180, edge : edge + 3] *= 0.7
    out, _ = completed(skin, confidence, None)
    luma = np.log(out @ LUMA)
    along = luma[50, 40:120]
    assert along[:10].mean() > along[-10:].mean() + 1.5  # skin out there, brow inside
    assert np.abs(np.diff(along)).max() < 0.4, np.abs(np.diff(along)).max()  # without: one step of 1.5
    cheek = luma[100:170, 40:130].mean(0)
    assert np.abs(np.diff(cheek)).max() < 0.25, np.abs(np.diff(cheek)).max()  # without: one step of 0.36
    assert np.abs(out[:, 128] - skin[:, 128]).max() < 1e-2


def test_what_hair_leaves_down_a_cheek_fades_and_freckles_stay():
    """Two faint lines run down beside the hair; freckles, a scar across and the fold beside the mouth are the person's."""
    size = 352
    x, y, _ = np.moveaxis(uv_grid(size).carried(face_model().mean_cm.astype(np.float32)), -1, 0)
    skin = np.full((size, size, 3), (0.4, 0.3, 0.25), np.float32)
    line = (np.abs(np.abs(x) - 5.1) < 0.1) & (y < -1) & (y > -5)
    fold = (np.abs(np.abs(x) - 2.6) < 0.1) & (y < -2) & (y > -5)
    scar = (np.abs(y + 3) < 0.1) & (x > 3.6) & (x < 5.6)
    freckles = np.random.default_rng(3).uniform(size=(size, size)) < 0.01
    freckles &= (np.abs(x) > 3.6) & (np.abs(x) < 4.8) & (y < -1.5) & (y > -5)
    assert freckles.sum() >= 3
    marked = skin.copy()
    marked[line] *= (0.82, 0.85, 1.0)
    marked[fold | scar | freckles] *= 0.8
    confidence = ((np.abs(x) < 6.0) & uv_grid(size).covered).astype(np.float32)
    (out, _), (plain, _) = completed(marked, confidence, None), completed(skin, confidence, None)

    def left(where):
        """Share of the mark that is still there."""
        return float(np.log((out[where] @ LUMA) / (plain[where] @ LUMA)).mean() / np.log(marked[where] @ LUMA / (skin[where] @ LUMA)).mean())  # fmt: skip

    assert left(line & ~scar) < 0.6, left(line & ~scar)  # they do not run straight down the atlas
    assert left(freckles & ~line) > 0.85 and left(fold) > 0.97 and left(scar & ~line) > 0.85
    hue = np.log(out[..., 2] / out[..., 0]) - np.log(plain[..., 2] / plain[..., 0])
    assert np.abs(hue[line]).mean() < 0.12  # of 0.2


def test_a_lid_from_the_other_side_is_as_bright_as_there():
    """The outer lid on one side is hidden: what is mirrored takes its tone from skin, not from the brow above it."""
    size = 256
    skin = np.full((size, size, 3), (0.4, 0.3, 0.25), np.float32)
    skin[_from_features(size)[0] < 0.4] = 0.05  # brows
    lid = (slice(62, 72), slice(68, 78))
    confidence = uv_grid(size).covered.astype(np.float32)
    confidence[:, :80] = 0
    out, _ = completed(skin, confidence, None)
    assert np.abs(np.log(out[lid] / skin[lid])).max() < 0.15, np.log(out[lid] / skin[lid]).max()


def test_a_turned_look_is_completed_without_holes(persona_b):
    albedo = (
        build_persona(capture_of(one_look(yaw=35.0)), "p", PersonaSettings(atlas_px=SIZE)).keys[0].albedo.astype(float)
    )
    skin = uv_grid(SIZE).skin
    truth = cv2.resize(person(7).albedo, (SIZE, SIZE))
    ratio = np.log((albedo[skin] @ LUMA) / (truth[skin] @ LUMA))
    ratio -= np.median(ratio)
    assert np.isfinite(ratio).all() and np.quantile(np.abs(ratio), 0.95) < 0.5, np.quantile(np.abs(ratio), 0.95)
    for key in persona_b.keys:
        assert key.albedo[uv_grid(key.albedo.shape[0]).covered].astype(float).min() >= 0


def test_completion_keeps_what_is_known():
    rng = np.random.default_rng(0)
    albedo = rng.uniform(0.2, 0.5, (128, 128, 3)).astype(np.float32)
    out, confidence = completed(albedo, np.ones((128, 128), np.float32), None)
    np.testing.assert_allclose(out, albedo, atol=1e-3)
    assert (confidence == 255).all()
    assert (mirrored(mirrored(albedo)) == albedo).all()


def test_shape_identity_and_views(persona_b):
    from digidouble.perception.shape import proportions_onto

    truth = person(7).neutral_cm
    assert 10 * np.linalg.norm(proportions_onto(persona_b.neutral_cm.astype(float), truth) - truth, axis=1).mean() < 2.0
    assert persona_b.identity @ person(7).identity > 0.99 and len(persona_b.keys) == 4
    assert [k.view_deg[0] for k in persona_b.keys[1:]] == pytest.approx(
        [0, 22, -22], abs=4
    )  # to the subject's left is positive
    assert 0.02 < persona_b.iris_linear.mean() < 0.6 and (persona_b.skin_linear > 0.02).all()


def test_keys_share_one_tone(persona_b):
    skin = uv_grid(256).skin
    tones = [np.log(np.median(k.albedo.astype(float)[skin & (k.confidence > 128)], 0)) for k in persona_b.keys]
    assert np.ptp(tones, axis=0).max() < 0.12


@pytest.mark.parametrize(("px", "side"), [(10, 128), (100, 160), (1000, 1472), (9000, 4096)])
def test_atlas_follows_the_source(px, side):
    assert atlas_size(px) == side and side % 32 == 0


@pytest.mark.parametrize("name", ["", " ", "a/b", "a\\b", "a\nb", "x" * 101, "a\0"])
def test_names_are_plain(name):
    with pytest.raises(SettingsError):
        build_persona(capture_of(one_look()), name)


@pytest.mark.parametrize("bad", [{"atlas_px": 100}, {"atlas_px": 5000}, {"keys": 0}, {"keys": 65}])
def test_settings_refuse(bad):
    with pytest.raises(SettingsError):
        PersonaSettings(**bad)


def test_round_trip_is_bit_exact(persona_b, persona_file, tmp_path):
    got = load_persona(persona_file)
    for name in ("neutral_cm", "identity", "iris_linear", "skin_linear"):
        a, b = getattr(persona_b, name), getattr(got, name)
        np.testing.assert_array_equal(np.asarray(a, np.float32), b)
    assert (got.name, got.consent, got.sources) == (persona_b.name, persona_b.consent, persona_b.sources)
    for a, b in zip(persona_b.keys, got.keys, strict=True):
        for f in dataclasses.fields(a):
            x, y = getattr(a, f.name), getattr(b, f.name)
            assert np.array_equal(x, y), f.name
    assert save_persona(got, tmp_path / "again.persona").read_bytes() == persona_file.read_bytes()
    assert got.sha256 == load_persona(tmp_path / "again.persona").sha256 != ""


def test_building_twice_gives_the_same(persona_b):
    again = persona_of(person(7), "b")
    assert all(
        (a.albedo == b.albedo).all() and (a.confidence == b.confidence).all()
        for a, b in zip(persona_b.keys, again.keys, strict=True)
    )


def test_a_persona_without_consent_does_not_open(persona_file, tmp_path):
    import json
    import zipfile

    zipfile.ZipFile(persona_file).extractall(tmp_path / "f")
    manifest = tmp_path / "f" / "manifest.json"
    raw = json.loads(manifest.read_text())
    for change in (
        None,
        {},
        {"subject": "x"},
        raw["facts"]["consent"] | {"extra": 1},
        raw["facts"]["consent"] | {"expires": "soon"},
        raw["facts"]["consent"] | {"scope": ["anything"]},
    ):
        manifest.write_text(json.dumps(raw | {"facts": raw["facts"] | {"consent": change}}))
        with pytest.raises(ConsentError):
            load_persona(tmp_path / "f")
    del raw["facts"]["consent"]
    manifest.write_text(json.dumps(raw))
    with pytest.raises(ConsentError):
        load_persona(tmp_path / "f")


def test_atlases_must_agree_in_size(persona_b):
    small = dataclasses.replace(persona_b.keys[1], albedo=persona_b.keys[1].albedo[:64, :64])
    with pytest.raises(DamagedAsset, match="differ in size"):
        dataclasses.replace(persona_b, keys=(persona_b.keys[0], small))
    with pytest.raises(DamagedAsset, match="no atlas"):
        dataclasses.replace(persona_b, keys=())


def test_consent_is_judged_by_date_and_purpose():
    c = consent(expires=date(2030, 6, 1), scope=("film", "demo"))
    c.check(date(2030, 6, 1), "film")
    c.check(date(2030, 6, 1))
    with pytest.raises(ConsentError, match="2030-06-01"):
        c.check(date(2030, 6, 2), "film")
    with pytest.raises(ConsentError, match="film, demo, not advertising"):
        c.check(date(2029, 1, 1), "advertising")


def lamp_lit(size: int = 160):
    """(albedo of even skin by a lamp, lips mask, socket mask)."""
    place = uv_grid(size).carried(face_model().mean_cm.astype(np.float32))
    albedo = np.tile(np.array([0.30, 0.12, 0.05], np.float32), (size, size, 1))
    lips = np.hypot(place[..., 0] / 2.4, (place[..., 1] + 6.3) / 0.9) < 1
    sockets = (np.hypot(np.abs(place[..., 0]) - 3.0, place[..., 1] - 0.4) < 3.2) & uv_grid(size).skin
    return albedo, lips & uv_grid(size).covered, sockets


def test_starved_blue_is_held_to_skin():
    """Lilac lips by a lamp come back near the skin's hue; the same lips in daylight are lipstick, and stay."""
    albedo, lips, _ = lamp_lit()
    sure = np.ones(albedo.shape[:2], np.float32)
    albedo[lips] *= [0.8, 0.6, 1.2]

    def blue_over_red(a: np.ndarray) -> float:
        skin = uv_grid(len(a)).skin
        return float(np.log(a[lips][:, 2] / a[lips][:, 0]).mean() - np.log(a[skin][:, 2] / a[skin][:, 0]).mean())

    assert blue_over_red(albedo) > 0.35
    assert blue_over_red(tempered(albedo, sure)) < 0.12
    daylight = albedo * np.array([0.42 / 0.30, 0.28 / 0.12, 0.21 / 0.05], np.float32)
    np.testing.assert_allclose(tempered(daylight, sure), daylight, rtol=1e-5)


def test_shadows_in_the_sockets_are_lifted_and_beards_are_not():
    albedo, _, sockets = lamp_lit()
    albedo[...] = (0.42, 0.28, 0.21)
    sure = np.ones(albedo.shape[:2], np.float32)
    place = uv_grid(len(albedo)).carried(face_model().mean_cm.astype(np.float32))
    beard = (place[..., 1] < -5) & uv_grid(len(albedo)).skin
    albedo[sockets] *= 0.45
    albedo[beard] *= 0.45
    out = tempered(albedo, sure)
    assert out[sockets].mean() > 1.15 * albedo[sockets].mean()
    np.testing.assert_allclose(out[beard], albedo[beard], rtol=0.02)


def test_hair_along_the_face_and_strands_on_the_cheek_are_no_skin():
    """Painted on even skin: a strand down the cheek and a dark edge beside what is not seen are found, a broad beard is not."""
    from digidouble.perception.uvgrid import uv_grid
    from digidouble.persona.atlas import loose_hair
    from digidouble.schema.mesh import face_model

    size = 320
    grid = uv_grid(size)
    place = grid.carried(face_model().mean_cm)
    x, y = place[..., 0], place[..., 1]
    skin = np.full((size, size, 3), 0.4, np.float32)
    confidence, everywhere = (grid.covered & (np.abs(x) < 6)).astype(np.float32), np.ones((size, size), bool)
    assert loose_hair(skin, confidence, everywhere).max() == 0
    strand = (np.abs(x - 5) < 0.15) & (y < -1) & (y > -5)
    fold = (np.abs(np.abs(x) - 3.2) < 0.12) & (y < -3) & (y > -6.5)  # from nose to mouth corner: the person's
    edge = (x < -5.3) & (x > -6) & (y < 4) & (y > -3)
    beard = (y < -6.3) & grid.covered
    painted = skin.copy()
    painted[strand | fold | edge | beard] = 0.1
    found = loose_hair(painted, confidence, everywhere)
    assert found[strand].mean() > 0.8 and found[edge].mean() > 0.8
    assert (
        found[beard].mean() < 0.1
        and found[fold].max() == 0
        and found[(np.abs(x) < 2.5) & (y > -5) & grid.covered].max() == 0
    )
    elsewhere = loose_hair(painted, confidence, x < 0)
    assert elsewhere[strand].max() == 0 and elsewhere[edge].mean() > 0.8


def test_lamps_in_worn_glasses_are_no_skin():
    """A white spot on a lens is found; the white of the eye, a spot on the cheek, and anything without glasses are not."""
    from digidouble.perception.uvgrid import uv_grid
    from digidouble.persona.atlas import eye_opening, eye_zone, glare
    from digidouble.schema.mesh import face_model

    size = 320
    place = uv_grid(size).carried(face_model().mean_cm)
    x, y = place[..., 0], place[..., 1]
    skin, sure = np.full((size, size, 3), 0.3, np.float32), uv_grid(size).covered.astype(np.float32)
    lens, cheek = np.hypot(x - 5.0, y - 0.5) < 0.4, np.hypot(x - 3.5, y + 5) < 0.4
    eye = eye_opening(size, "left_eye") > 0.9
    rim = (np.abs(np.hypot(x + 3.2, y) - 2.0) < 0.08) & (np.abs(x) < 6)  # bright metal round the other eye
    nose = np.hypot(x, y + 2) < 0.5  # shines of itself
    dark = (np.abs(np.hypot(x - 5.0, y - 0.5) - 0.55) < 0.1) & (x < 5.0)  # a dark rim right beside the lamp
    skin[lens | cheek | eye | rim | nose] = 0.9
    skin[dark & ~lens] = 0.03
    found = glare(skin, sure, eye_zone(size))
    assert found[nose].max() == 0 and found[dark & ~lens].mean() < 0.35
    assert found[lens].min() > 0.6 and found[rim].max() == 0 and found[eye].max() == 0 and found[cheek].max() == 0
    assert found.mean() < 5 * lens.mean()
    assert glare(skin, sure, np.zeros((size, size), np.float32)).max() == 0


def test_a_fringe_on_the_forehead_is_no_skin_and_lines_are():
    size = 320
    place = uv_grid(size).carried(face_model().mean_cm)
    x, y = place[..., 0], place[..., 1]
    from digidouble.persona.atlas import loose_hair

    strand = (np.abs(x - 2.5) < 0.1) & (y > 3.2) & (y < 4.6)
    line = (np.abs(y - 3.6) < 0.1) & (x < 1) & (x > -4)  # across
    frown = (np.abs(x - 0.5) < 0.1) & (y > 1.6) & (y < 3.2)  # between the brows
    skin, sure = np.full((size, size, 3), 0.4, np.float32), uv_grid(size).covered.astype(np.float32)
    skin[strand | line | frown] = 0.25
    found = loose_hair(skin, sure, np.ones((size, size), bool))
    assert found[strand].mean() > 0.8
    assert found[line & (x < 0)].max() == 0 and found[frown].max() == 0


def test_pale_foreheads_are_skin_and_white_caps_are_not():
    from digidouble.persona.atlas import skin_likelihood

    size = 256
    y = uv_grid(size).carried(face_model().mean_cm)[..., 1]
    forehead = (y > 3) & uv_grid(size).covered
    sure, no_glasses = uv_grid(size).covered.astype(np.float32), np.zeros((size, size), np.float32)
    shine, cap = (np.array(c, np.float32) for c in ((1.08, 1.3, 1.7), (1.6, 2.4, 3.6)))
    even = np.tile(np.array([0.42, 0.26, 0.18], np.float32), (size, size, 1))
    inner = forehead & (np.abs(uv_grid(size).carried(face_model().mean_cm)[..., 0]) < 3)
    wall = np.array((1.8, 1.8, 1.8), np.float32)  # brighter in skin's own hue, as in a grey picture
    for paint, kept in ((shine, True), (cap, False), (wall, False)):
        albedo = even.copy()
        albedo[forehead] *= paint
        fits = skin_likelihood(albedo, sure, no_glasses)[inner].mean()
        assert fits > 0.7 if kept else fits < 0.1


def test_hair_at_the_temples_is_not_the_glasses():
    """Within the zone of worn glasses their dark arm stays, a broad dark field beside it goes."""
    from digidouble.persona.atlas import eye_zone, skin_likelihood

    size = 320
    place = uv_grid(size).carried(face_model().mean_cm)
    x, y = place[..., 0], place[..., 1]
    arm, hair = (np.abs(y) < 0.1) & (x < -5) & (x > -6), (np.abs(y - 1) < 1.5) & (x > 5.2) & (x < 6.4)
    albedo = np.tile(np.array([0.42, 0.26, 0.18], np.float32), (size, size, 1))
    albedo[arm | hair] *= 0.15
    fits = skin_likelihood(albedo, uv_grid(size).covered.astype(np.float32), eye_zone(size))
    assert fits[arm].mean() > 0.8 and fits[hair].mean() < 0.3  # its rim, and what lies by the brow, stay
    wing = (np.abs(y - 1) < 0.5) & (x > 4.8) & (x < 6.2)  # the end of a thick rim
    albedo[:] = (0.42, 0.26, 0.18)
    albedo[wing] *= 0.1
    assert skin_likelihood(albedo, uv_grid(size).covered.astype(np.float32), eye_zone(size))[wing].mean() > 0.8


def test_thick_rims_are_worn_whole():
    """Cat-eye glasses in front of the face by the matte: rims to their ends, lenses and the cheeks below are the person's."""
    look = one_look()
    place = uv_grid(SIZE).carried(face_model().mean_cm)
    x, y = np.abs(place[..., 0]), place[..., 1]
    ring = np.hypot((x - 3.2) / 1.25, y / 1.0)
    rims = ((ring > 1.7) & (ring < 2.3) & (x > 0.8)) | ((np.abs(y - 1.2) < 0.5) & (x > 4.6))
    at = np.round(uv_grid(SIZE).carried(look.points_px[:, :2].astype(np.float32))).astype(int)
    linear, matte = look.linear.copy(), look.matte.copy()
    mask = np.zeros(matte.shape, np.uint8)
    mask[at[rims][:, 1], at[rims][:, 0]] = 1
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
    linear[mask], matte[mask] = 0.012, 0
    _, bare = unwrap(look, SIZE)
    _, worn = unwrap(dataclasses.replace(look, linear=linear, matte=matte), SIZE)
    rims &= bare > 0.9
    cheek = (x > 3) & (x < 5) & (y < -2.5) & (y > -6) & (bare > 0.9)
    assert rims.sum() > 300 and worn[rims].mean() > 0.95, worn[rims].mean()
    assert worn[cheek].mean() > 0.95, worn[cheek].mean()


def test_where_the_first_look_shows_hair_the_others_keep_their_skin():
    """The temple of the first look lies under black hair; three others show it, and must not be toned to that hair."""
    from digidouble.persona.consensus import consensus, toned

    size = 192
    x = uv_grid(size).carried(face_model().mean_cm)[..., 0]
    covered = uv_grid(size).covered.astype(np.float32)
    temple = (x > 4) & uv_grid(size).covered
    skin = np.tile(np.array([0.42, 0.26, 0.18], np.float32), (size, size, 1))
    first = skin.copy()
    first[temple] = 0.02
    seen = [np.where(temple, 0, covered).astype(np.float32), covered, covered, covered]
    agreed = consensus([first, skin, skin, skin], seen, [0, 1, 1, 1], [False] * 4)
    for look in (1, 2, 3):
        np.testing.assert_allclose(toned(skin, seen[look], agreed)[temple], skin[temple], rtol=0.1)
    two = consensus([first, skin], seen[:2], [0, 1], [False] * 2)
    np.testing.assert_allclose(toned(skin, seen[1], two)[temple], skin[temple], rtol=0.1)

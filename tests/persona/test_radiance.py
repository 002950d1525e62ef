"""The radiance field without torch: closed form, rays, the file on disk."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fields import SMILE, filmed, psnr_db, session, skin_at

from digidouble.assets import AssetReader, AssetWriter
from digidouble.errors import AssetError, DamagedAsset
from digidouble.perception.radiance import FieldView, conditions_of, graph_of, slant_of
from digidouble.perception.session import Session
from digidouble.perception.uvgrid import uv_grid
from digidouble.persona import load_persona, save_persona
from digidouble.persona.exposures import Exposures
from digidouble.persona.radiance_start import StartSettings, clusters, start, units
from digidouble.schema.mesh import FLIP_YZ, face_model
from digidouble.schema.radiance import COARSE, CONDITIONS, HEIGHTS_CM, Radiance
from digidouble.schema.transfer import srgb_encode


@pytest.fixture(scope="module")
def seen_and_asked():
    seen, asked = session()
    return filmed(seen), filmed(asked, noise=0.0, seed=2), seen, asked


@pytest.fixture(scope="module")
def field(seen_and_asked) -> Radiance:
    return start(seen_and_asked[0])


def answered(field: Radiance, exposures: Exposures, i: int) -> np.ndarray:
    atlas, _ = FieldView(field).atlas(exposures.conditions[i], exposures.slant[i])
    return srgb_encode(np.clip(atlas, 0, 1))


def flat_field(side: int = 64, **more) -> Radiance:
    k, c = len(HEIGHTS_CM), CONDITIONS
    arrays = {
        "fixed": np.full((side, side, 3), -1.0, np.float32), "planes": np.zeros((2, 64, 64, 3), np.float16),
        "tone": np.zeros((k, COARSE, COARSE, 3), np.float32), "thickness": np.full((k, COARSE, COARSE), -9.0, np.float32),
        "centres": np.zeros((3, c), np.float32), "reach": np.ones(6, np.float32), "weights": np.zeros((18, 2), np.float32),
        "bias": np.zeros(2, np.float32), "low": -np.ones(c, np.float32), "high": np.ones(c, np.float32),
    }  # fmt: skip
    return Radiance(**(arrays | more))


def test_unseen_combinations_beat_the_nearest_frame(field, seen_and_asked):
    """A smile with a turn was never filmed: the field must put them together from frames that show one of each."""
    exposures, asked, seen, wanted = seen_and_asked
    ours, nearest = [], []
    for i, moment in enumerate(wanted):
        truth = skin_at(exposures.side, *moment)
        ours.append(psnr_db(answered(field, asked, i), truth))
        best = int(np.linalg.norm(seen - moment, axis=1).argmin())
        nearest.append(psnr_db(exposures.display[best], truth))
    assert np.mean(ours) > np.mean(nearest) + 2, (np.mean(ours), np.mean(nearest))


def test_the_field_answers_to_expression_and_view(field, seen_and_asked):
    """A smile folds the cheek of the field where it folds the truth's, and nowhere else."""
    asked, side = seen_and_asked[1], field.side
    calm, smiling = np.zeros(CONDITIONS, np.float32), np.zeros(CONDITIONS, np.float32)
    smiling[SMILE] = 0.8
    view, slant = FieldView(field), np.zeros_like(asked.slant[0]) + np.array([0, 0, 1], np.float32)
    change = (view.atlas(smiling, slant)[0] - view.atlas(calm, slant)[0]).mean(-1)
    truth = (skin_at(side, 0.8, 0, 0) - skin_at(side, 0, 0, 0)).mean(-1)
    where = uv_grid(side).covered
    assert np.corrcoef(change[where], truth[where])[0, 1] > 0.7


def test_one_exposure_is_its_own_field():
    one = filmed(np.array([[0.4, 0.2, 0.0]]), noise=0.0)
    assert psnr_db(answered(start(one), one, 0), one.display[0].astype(float)) > 35


def test_unseen_skin_takes_the_priors_detail_and_the_neighbours_tone():
    one = filmed(np.array([[0.0, 0.0, 0.0]]), noise=0.0)
    weight = one.weight.copy()
    weight[:, :, 80:] = 0
    prior = np.ones((128, 128, 3), np.float32) * 0.05
    prior[60:64, 90:100] *= 3  # a mark that only the prior has
    found = np.exp(start(dataclasses.replace(one, weight=weight), prior).fixed).mean(-1)
    assert found[62, 95] > 2 * found[50, 95]
    assert abs(np.log(found[50, 95] / found[50, 70])) < 0.5  # not the prior's darkness


def test_graph_is_the_formula(field):
    """onnxruntime against the definition written out in numpy."""
    rng = np.random.default_rng(0)
    session_ = Session(graph_of(field, field.planes.astype(np.float32)))
    for _ in range(3):
        c = rng.normal(0, 1.0, CONDITIONS).astype(np.float32)
        held = np.clip(c, field.low, field.high)[None].astype(float)
        shares = units(held, field.centres.astype(float), field.reach) @ field.weights + field.bias
        wanted = (shares @ field.planes.astype(float).reshape(len(field.planes), -1))[0]
        got = session_.run({"conditions": c[None]})["planes"][0]
        assert np.abs(got - wanted).max() < 2e-3 * max(1.0, np.abs(wanted).max())


def test_march_is_front_to_back_compositing():
    """Against the sum over samples written out for a shell whose tones and densities do not vary over the skin."""
    tone = np.zeros((3, COARSE, COARSE, 3), np.float32)
    tone[0], tone[1] = np.log(2.0), np.log(0.5)
    thickness = np.zeros((3, COARSE, COARSE), np.float32)
    thickness[0], thickness[1], thickness[2] = 0.5, -0.5, 2.0
    view = FieldView(flat_field(tone=tone, thickness=thickness))
    slant = np.zeros((COARSE, COARSE, 3), np.float32)
    slant[..., 2] = 0.8
    atlas, stopped = view.atlas(np.zeros(CONDITIONS, np.float32), slant)
    left, total = 1.0, 0.0
    for k, gain in enumerate((2.0, 0.5, 1.0)):
        alpha = 1 - np.exp(-np.log1p(np.exp(thickness[k, 0, 0])) * 0.25 / 0.8)
        share = left * (alpha if k < 2 else 1.0)
        total += share * gain * np.exp(-1.0)
        if k == 2:
            assert np.allclose(stopped, 1 - left * (1 - alpha), atol=1e-5)
        left -= share if k < 2 else 0
    assert np.allclose(atlas, total, rtol=1e-4)


def test_a_ray_through_an_opaque_height_sees_the_skin_it_slants_to():
    """Parallax: with the outer height opaque, a ray that drifts a tenth of the face a centimetre shows what is 0.05 away."""
    fixed = np.tile(np.linspace(-3, 0, 64, dtype=np.float32)[None, :, None], (64, 1, 3))
    thickness = np.full((3, COARSE, COARSE), -9.0, np.float32)
    thickness[0] = 60.0
    slant = np.zeros((COARSE, COARSE, 3), np.float32)
    slant[..., 0], slant[..., 2] = 0.1, 1.0
    atlas, _ = FieldView(flat_field(fixed=fixed, thickness=thickness)).atlas(np.zeros(CONDITIONS, np.float32), slant)
    drift = 0.1 * HEIGHTS_CM[0] * 64 * 3 / 63  # in natural log along the ramp
    assert np.allclose(np.log(atlas[:, 10:50]) - fixed[:, 10:50], drift, atol=0.01)


def test_slant_of_a_turned_face():
    """Seen from the front nothing drifts where the skin faces the viewer; turned, rays drift towards the viewer's side, by the
    tangent of the angle over the size of the face."""
    mean = face_model().mean_cm.astype(np.float64)
    a = np.radians(25)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    slant = slant_of((10 * mean @ turn.T * FLIP_YZ).astype(np.float32), 10.0)
    front = slant_of((10 * mean * FLIP_YZ).astype(np.float32), 10.0)
    forehead = slice(12, 18), slice(28, 36)
    assert np.abs(np.median(front[forehead][..., :2], (0, 1))).max() < 0.02
    moved = slant[forehead][..., 0] - front[forehead][..., 0]
    # The head turns to its left (larger u), so the viewer is on its right: rays climb towards smaller u.
    assert (moved < 0).all()
    u, cm = face_model().uv[[127, 356], 0], mean[[127, 356], 0]
    expected = np.tan(a) * abs((u[1] - u[0]) / (cm[1] - cm[0]))
    assert 0.5 < float(np.median(-moved)) / expected < 2


def test_conditions_read_view_and_openings():
    mean = face_model().mean_cm.astype(np.float64)
    straight = conditions_of(mean, np.zeros(26), np.eye(3))
    assert straight.shape == (CONDITIONS,) and np.allclose(straight[26:28], 0)
    opened = mean.copy()
    opened[[14, 87, 317], 1] -= 0.9
    assert conditions_of(opened, np.zeros(26), np.eye(3))[-1] - straight[-1] == pytest.approx(3.0, abs=1e-4)


def test_clusters_find_separate_groups():
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.normal(m, 0.05, (10, 2)) for m in ((0, 0), (3, 0), (0, 3))])
    labels = clusters(points, 3)
    assert len({tuple(np.unique(labels[i : i + 10])) for i in (0, 10, 20)}) == 3
    assert all(len(np.unique(labels[i : i + 10])) == 1 for i in (0, 10, 20))


def test_field_is_smaller_when_asked(field, seen_and_asked):
    small = FieldView(field, 64)
    assert small.atlas(seen_and_asked[1].conditions[0], seen_and_asked[1].slant[0])[0].shape == (64, 64, 3)


class TestFile:
    @pytest.fixture
    def kept(self, persona_b, field, tmp_path):
        persona = dataclasses.replace(persona_b, radiance=dataclasses.replace(field, quality={"frames": 48.0}))
        return save_persona(persona, tmp_path / "r.persona")

    def test_round_trip(self, kept, field, seen_and_asked):
        again = load_persona(kept)
        assert again.level == "radiance" and again.radiance is not None and again.radiance.quality == {"frames": 48.0}
        a, b = (answered(f, seen_and_asked[1], 0) for f in (field, again.radiance))
        assert np.abs(a - b).max() < 4e-3

    def test_a_persona_without_stays_without(self, persona_file):
        again = load_persona(persona_file)
        assert again.level == "atlas" and again.radiance is None

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda t: {**t, "more": np.zeros(3, np.float32)}, "unknown"),
            (lambda t: {k: v for k, v in t.items() if k != "bias"}, "missing"),
            (lambda t: {**t, "planes": t["planes"].astype(np.float32)}, "planes"),
            (lambda t: {**t, "weights": t["weights"][:-1]}, "weights"),
            (lambda t: {**t, "centres": np.repeat(t["centres"], 20, 0)}, "weights"),
            (lambda t: {**t, "fixed": np.full_like(t["fixed"], np.inf)}, "finite"),
            (lambda t: {**t, "fixed": np.zeros((2048, 2048, 3), np.float16)}, "texels"),
            (lambda t: {**t, "reach": np.zeros(6, np.float32)}, "positive"),
            (lambda t: {**t, "low": t["high"] + 1}, "low bounds"),
        ],
    )
    def test_hostile_members_are_refused(self, kept, change, words, tmp_path):
        with AssetReader(kept, "persona") as r, AssetWriter(tmp_path / "bad.persona", "persona") as w:
            for name in r.names():
                if name == "radiance.safetensors":
                    w.add_tensors(name, change(r.tensors(name)))
                else:
                    w.add_bytes(name, r.bytes_of(name))
            bad = w.finish(r.facts)
        with pytest.raises(DamagedAsset, match=words):
            load_persona(bad)

    @pytest.mark.parametrize("said", ["great", {"psnr": "much"}, {str(i): 0.0 for i in range(99)}])
    def test_odd_facts_are_refused(self, kept, said, tmp_path):
        with AssetReader(kept, "persona") as r, AssetWriter(tmp_path / "bad.persona", "persona") as w:
            for name in r.names():
                w.add_bytes(name, r.bytes_of(name))
            bad = w.finish({**r.facts, "radiance": said})
        with pytest.raises(DamagedAsset, match="radiance"):
            load_persona(bad)

    def test_a_field_that_the_facts_promise_must_be_there(self, persona_file, tmp_path):
        with AssetReader(persona_file, "persona") as r, AssetWriter(tmp_path / "bad.persona", "persona") as w:
            for name in r.names():
                w.add_bytes(name, r.bytes_of(name))
            bad = w.finish({**r.facts, "radiance": {}})
        with pytest.raises(AssetError):
            load_persona(bad)


def test_start_settings_bound_the_field(seen_and_asked):
    small = start(seen_and_asked[0], settings=StartSettings(planes=5, centres=7))
    assert small.planes.shape[0] == 5 and small.centres.shape[0] == 7

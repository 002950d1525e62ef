"""The fit with torch, where there is torch; and what is said where there is none."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from fields import filmed, psnr_db, session, skin_at

from digidouble.errors import DamagedAsset, SettingsError
from digidouble.perception.radiance import FieldView
from digidouble.persona import radiance_fit
from digidouble.persona.exposures import Exposures
from digidouble.persona.radiance_build import with_radiance
from digidouble.persona.radiance_fit import FitSettings, fit_radiance, validation_rows
from digidouble.persona.radiance_views import fit_sheet
from digidouble.schema.transfer import srgb_encode

QUICK = FitSettings(steps=50, device="cpu", threads=1)


def filmed_session(**more) -> tuple[Exposures, Exposures, np.ndarray, np.ndarray]:
    seen, asked = session()
    return filmed(seen, 64, **more), filmed(asked, 64, noise=0.0, seed=2), seen, asked


def test_without_torch_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "torch":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match=r"pip install 'digidouble\[neural\]'"):
        fit_radiance(filmed_session()[0], settings=QUICK)


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"frames": 0}, {"device": "tpu"}, {"seed": -1}, {"threads": 999}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError):
        FitSettings(**wrong)


def test_frames_left_out_are_a_cluster_and_not_many():
    exposures = filmed_session()[0]
    out = validation_rows(exposures)
    assert 1 <= out.sum() <= 0.2 * len(exposures)
    inside = exposures.conditions[out]
    spread = np.linalg.norm(inside - inside.mean(0), axis=1).mean()
    everyone = np.linalg.norm(exposures.conditions - exposures.conditions.mean(0), axis=1).mean()
    assert spread < 0.8 * everyone
    assert not validation_rows(exposures.chosen(range(10))).any()


class TestWithTorch:
    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch")

    def test_the_fit_beats_the_nearest_frame_on_what_it_has_not_seen(self):
        exposures, asked, seen, wanted = filmed_session(noise=0.02)
        said = []
        done = fit_radiance(exposures, settings=QUICK, progress=said.append)
        view, ours, nearest = FieldView(done.radiance), [], []
        for i, moment in enumerate(wanted):
            truth = skin_at(64, *moment)
            ours.append(psnr_db(srgb_encode(view.atlas(asked.conditions[i], asked.slant[i])[0]), truth))
            nearest.append(psnr_db(exposures.display[np.linalg.norm(seen - moment, axis=1).argmin()], truth))
        assert np.mean(ours) > np.mean(nearest) + 2, (np.mean(ours), np.mean(nearest))
        assert [p.step for p in said if p.phase == radiance_fit.MARCHED][:2] == [0, 25]
        best = max(v for p, _, v in done.curve if p == radiance_fit.MARCHED)
        assert done.radiance.quality["unseen_psnr_db"] == pytest.approx(best, abs=0.01)
        sheet = fit_sheet(done, exposures)
        assert sheet.ndim == 3 and sheet.std() > 10

    def test_what_is_exported_is_what_was_fitted(self, torch):
        """The march in torch against the one of a render, for a field whose heights are not empty."""
        exposures = filmed_session()[0]
        descent = radiance_fit._Descent(torch, radiance_fit.start(exposures), exposures, QUICK, "cpu")
        with torch.no_grad():
            descent.params["thickness"][:2] = 1.0
            descent.params["tone"][0] = 0.3
            for k in range(3):
                conditions = torch.tensor(exposures.conditions[k : k + 1])
                slant = torch.tensor(exposures.slant[k : k + 1].transpose(0, 3, 1, 2))
                albedo, stopped = descent.rays(conditions, slant)
                got, through = FieldView(descent.field()).atlas(exposures.conditions[k], exposures.slant[k])
                inside = slice(4, -4), slice(4, -4)  # torch repeats the border's texels, the render its last sample
                wanted = albedo[0].permute(1, 2, 0).numpy()
                assert np.abs(np.log(got[inside] / wanted[inside])).max() < 0.03
                assert np.abs(np.log(got[inside] / wanted[inside])).mean() < 2e-3
                assert np.abs(through[inside] - stopped[0, 0].numpy()[inside]).max() < 0.02

    @pytest.mark.parametrize("at", [25, 75])
    def test_a_killed_fit_goes_on_and_ends_the_same(self, tmp_path, at):
        exposures = filmed_session()[0]
        plain = fit_radiance(exposures, settings=QUICK)
        kept, count = tmp_path / "x.fit", 0

        class Killed(Exception):
            pass

        def kill(p):
            nonlocal count
            count += 25 if p.step else 0
            if count >= at:
                raise Killed

        with pytest.raises(Killed):
            fit_radiance(exposures, settings=QUICK, progress=kill, checkpoint=kept)
        assert kept.exists()
        steps = []
        again = fit_radiance(
            exposures, settings=QUICK, progress=lambda p: steps.append((p.phase, p.step)), checkpoint=kept
        )
        assert len(steps) < 6 and not kept.exists()
        for name in ("fixed", "planes", "tone", "thickness", "weights", "bias"):
            assert np.array_equal(getattr(again.radiance, name), getattr(plain.radiance, name)), name
        assert again.curve == plain.curve

    def test_a_checkpoint_of_another_fit_is_not_taken_up(self, tmp_path):
        exposures = filmed_session()[0]
        kept = tmp_path / "x.fit"
        state = radiance_fit._State(kept, "another")
        state.write(radiance_fit.MARCHED, 25, {"none": np.zeros(1)})
        steps = []
        fit_radiance(
            exposures,
            settings=FitSettings(steps=25, device="cpu", threads=1),
            progress=lambda p: steps.append(p.step),
            checkpoint=kept,
        )
        assert steps[0] == 0

    def test_a_broken_checkpoint_is_refused(self, tmp_path):
        kept = tmp_path / "x.fit"
        kept.write_bytes(b"not tensors")
        with pytest.raises(DamagedAsset, match="Remove it"):
            fit_radiance(filmed_session()[0], settings=QUICK, checkpoint=kept)

    def test_few_frames_keep_the_closed_form(self, persona_b):
        few = filmed(np.array([[0.0, 0.0, 0.0], [0.8, 0.0, 0.0], [0.0, 0.9, 0.5]]), 64)
        persona, done = with_radiance(persona_b, few, QUICK)
        assert done.stopped_at == 0 and persona.level == "radiance" and persona.sha256 == ""

    def test_cuda_that_is_not_there_is_refused(self, torch):
        if torch.cuda.is_available():
            pytest.skip("there is a CUDA device")
        with pytest.raises(SettingsError, match="CUDA"):
            fit_radiance(filmed_session()[0], settings=FitSettings(device="cuda"))

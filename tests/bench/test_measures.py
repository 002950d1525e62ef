"""Every metric is best for the truth, worse for a known damage, and in proportion to it."""

from __future__ import annotations

import numpy as np
import pytest

from digidouble.bench.protocols import measures


@pytest.fixture
def moves() -> np.ndarray:
    """90 frames of seven channels that move like a face that talks."""
    t = np.arange(90)
    phase, speed = np.linspace(0, 5, 7), np.linspace(0.15, 0.4, 7)
    return 0.3 + 0.06 * np.sin(speed * t[:, None] + phase) + 0.02 * np.sin(2.3 * speed * t[:, None])


def test_the_truth_is_best(moves):
    e = measures.expression(moves, moves)
    assert e["r"] == pytest.approx(1) and e["error"] == pytest.approx(0, abs=1e-12)
    assert (
        e["lag"] == pytest.approx(0, abs=1e-6) and e["amplitude"] == pytest.approx(1) and e["jerk"] == pytest.approx(1)
    )


def test_other_proportions_are_no_error(moves):
    assert measures.expression(moves, moves + np.linspace(-0.1, 0.1, 7))["error"] == pytest.approx(0, abs=1e-12)


def test_a_frozen_face_scores_one(moves):
    e = measures.expression(moves, np.broadcast_to(moves[0], moves.shape))
    assert e["error"] == pytest.approx(1) and e["r"] == 0 and e["amplitude"] == 0


def test_error_is_the_share_of_motion_lost(moves):
    mean = moves.mean(0)
    for kept in (0.9, 0.5, 0.2):
        e = measures.expression(moves, mean + kept * (moves - mean))
        assert e["error"] == pytest.approx(1 - kept) and e["amplitude"] == pytest.approx(kept)


@pytest.mark.parametrize("late", [-4, -1, 0, 2, 5])
def test_lag_is_found(moves, late):
    wide = np.vstack([moves[::-1], moves, moves[::-1]])
    n = len(moves)
    assert measures.lag_frames(wide[n : 2 * n], wide[n - late : 2 * n - late]) == pytest.approx(late, abs=0.3)


def test_noise_costs_correlation_and_smoothness_in_proportion(moves):
    noise = np.random.default_rng(1).standard_normal(moves.shape)
    found = [measures.expression(moves, moves + a * noise) for a in (0.0, 0.01, 0.03)]
    for name in ("error", "jerk"):
        assert found[0][name] < found[1][name] < found[2][name]
    assert found[0]["r"] > found[1]["r"] > found[2]["r"]
    assert found[2]["error"] == pytest.approx(3 * found[1]["error"], rel=0.01)


def test_the_judges_noise_is_taken_out(moves):
    """Damage of a known share of the movement, under noise on every measurement: the clean error is the share again."""
    rng = np.random.default_rng(2)
    long = np.vstack([moves] * 20)

    def measured(truth: np.ndarray, noise: float) -> np.ndarray:
        return truth + noise * rng.standard_normal(truth.shape)

    mean = long.mean(0)
    for noise in (0.0, 0.01, 0.02):
        plate, again = measured(long, noise), measured(long, noise)
        for kept in (0.9, 0.5):
            out = measured(mean + kept * (long - mean), noise)
            assert measures.clean_error(plate, out, again) == pytest.approx(1 - kept, abs=0.03)
            if noise:
                assert measures.expression(plate, out)["error"] > 1 - kept + 0.02
        assert measures.clean_error(plate, again, again) == 0
    frozen = np.broadcast_to(mean, long.shape)
    assert measures.clean_error(long, frozen, long) == pytest.approx(1)
    assert np.isnan(measures.clean_error(np.zeros((20, 7)), moves[:20], moves[:20]))


def test_still_channels_are_not_judged(moves):
    still = moves.copy()
    still[:, 3:] = 0.2
    noisy = still + 0.004 * np.random.default_rng(0).standard_normal(still.shape)
    assert measures.expression(still, noisy)["channels"] == 3
    nothing = measures.expression(np.zeros((20, 7)), noisy[:20])
    assert nothing["channels"] == 0 and np.isnan(nothing["r"])


def test_pose_error_in_degrees():
    plate = np.random.default_rng(0).uniform(-20, 20, (50, 3))
    assert measures.pose(plate, plate)["error"] == 0
    turned = measures.pose(plate, plate + np.array([3, 0, 0]))
    assert (
        turned["yaw"] == pytest.approx(3)
        and turned["error"] == pytest.approx(1)
        and turned["moving"] == pytest.approx(0)
    )
    frozen = measures.pose(plate, np.broadcast_to(plate.mean(0), plate.shape))
    assert frozen["moving"] > 5
    assert measures.pose(plate + 178, plate - 178)["error"] == pytest.approx(4)  # the short way round


def test_gaze_error_in_degrees():
    plate = np.random.default_rng(0).uniform(-20, 20, (50, 2))
    plate[::10] = np.nan
    assert measures.gaze(plate, plate)["error"] == 0
    away = measures.gaze(plate, plate + np.array([3, 4]))
    assert (
        away["error"] == pytest.approx(5) and away["moving"] == pytest.approx(0) and away["seen"] == pytest.approx(0.9)
    )


def test_flicker_is_relative_to_the_plate():
    own, seam = np.full(10, 2.0), np.full(10, 4.0)
    same, worse = measures.flicker(own, seam, own, seam), measures.flicker(own, seam, 1.5 * own, 3 * seam)
    assert (same["face_ratio"], same["seam_ratio"]) == (1, 1)
    assert (worse["face_ratio"], worse["seam_ratio"]) == (1.5, 3)


def test_identity_goes_from_plate_to_persona():
    """A swap that is t persona and 1-t plate wins from the middle on."""
    people = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 5)))[0].T
    persona, plate = people[0], people[1]

    def mixed(t: float) -> dict[str, float]:
        v = t * persona + (1 - t) * plate
        return measures.identity(np.repeat(v[None] / np.linalg.norm(v), 8, 0), persona, plate, people, 0)

    found = [mixed(t) for t in (0.0, 0.4, 0.6, 1.0)]
    assert [f["won"] for f in found] == [0, 0, 1, 1] and [f["top1"] for f in found] == [0, 0, 1, 1]
    margins = [f["margin"] for f in found]
    assert margins == sorted(margins) and margins[0] == pytest.approx(-1) and margins[-1] == pytest.approx(1)
    assert found[3]["swing"] == pytest.approx(0, abs=1e-9)

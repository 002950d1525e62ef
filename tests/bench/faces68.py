"""A 68-point face in three dimensions whose pose, openings and gaze are set, seen from far away. Pixels."""

from __future__ import annotations

import numpy as np

from digidouble.bench.landmarks import HEAD_CM, RIGID
from digidouble.bench.synthetic import pose_matrix


def face68(
    mouth: float = 0.5, smile: float = 0.0, brow: float = 0.0, eye: float = 1.0, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0,
    px_per_cm: float = 12.0, centre: tuple[float, float] = (200.0, 180.0), away_cm: float = 1e6,
) -> np.ndarray:  # fmt: skip
    """mouth: opening in cm. smile: corners up in cm. brow: both up in cm. eye: lid opening in cm. away_cm: the camera."""
    p = np.zeros((68, 3))
    jaw = np.linspace(-np.pi / 2, np.pi / 2, 17)
    p[:17] = np.stack([6.9 * np.sin(jaw), -1.0 - 9.5 * np.cos(jaw), -4.0 + 3.5 * np.cos(jaw)], 1)
    for k, x in enumerate(np.linspace(-5.2, -1.2, 5)):
        p[17 + k] = x, 1.9 + brow + 0.3 * np.sin(np.pi * k / 4), 0.4
        p[26 - k] = -x, 1.9 + brow + 0.3 * np.sin(np.pi * k / 4), 0.4
    p[32], p[34] = (-0.8, -4.7, 1.5), (0.8, -4.7, 1.5)
    for ring, side in ((36, -1), (42, 1)):
        outer, inner = (-4.4, -1.73) if side < 0 else (1.73, 4.4)
        xs = np.linspace(outer, inner, 4)
        for k, (x, up) in enumerate(((xs[0], 0), (xs[1], 1), (xs[2], 1), (xs[3], 0), (xs[2], -1), (xs[1], -1))):
            p[ring + k] = x, -0.15 + up * eye / 2, 0.0
    p[RIGID] = HEAD_CM
    for ring, reach, count, wide in ((48, mouth / 2 + 0.6, 12, 2.5), (60, mouth / 2, 8, 2.1)):
        angle = np.pi - 2 * np.pi * np.arange(count) / count
        p[ring : ring + count] = np.stack(
            [
                wide * np.cos(angle),
                -6.8 + reach * np.sin(angle) + smile * np.abs(np.cos(angle)) ** 3,
                np.full(count, 1.0),
            ],
            1,
        )
    turned = (p - HEAD_CM.mean(0)) @ pose_matrix(yaw, pitch, roll).T
    nearer = away_cm / (away_cm - turned[:, 2:])
    return np.array(centre) + px_per_cm * nearer * turned[:, :2] * [1, -1]

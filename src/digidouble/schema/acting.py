"""Acting: what a written face does, frame by frame, before it is laid over a plate. Numbers only; no plate, no pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from digidouble.errors import SettingsError
from digidouble.schema.mesh import face_model
from digidouble.schema.time import FrameRate


@dataclass(frozen=True)
class Acting:
    """Rows are frames of the finished shot.

    Attributes:
        rate: frames per second.
        actions: signed muscle-action coefficients over the person's neutral face, in the order of `FaceModel.action_names`.
        closure: 0..1, how far the lips must be shut whatever else the face does (see `schema.speech.MouthCurves`).
        blink: 0..1, 1 is both lids shut.
        gaze_deg: (yaw, pitch) of the eyes in the head over where they look on the plate; positive to the subject's left and up.
        head_deg: (yaw, pitch, roll) of the head over the plate's own pose, as in `Pose.euler_deg`.
        head_cm: (x, y) shift of the head, head axes: breathing, laughter.
    """

    rate: FrameRate
    actions: Float[np.ndarray, "n a"]
    closure: Float[np.ndarray, " n"]
    blink: Float[np.ndarray, " n"]
    gaze_deg: Float[np.ndarray, "n 2"]
    head_deg: Float[np.ndarray, "n 3"]
    head_cm: Float[np.ndarray, "n 2"]

    def __post_init__(self) -> None:
        n, a = len(self.actions), len(face_model().action_names)
        shapes = {
            "actions": (n, a),
            "closure": (n,),
            "blink": (n,),
            "gaze_deg": (n, 2),
            "head_deg": (n, 3),
            "head_cm": (n, 2),
        }
        for name, shape in shapes.items():
            values = getattr(self, name)
            if values.shape != shape or not np.isfinite(values).all():
                raise SettingsError(f"acting: {name} is {values.shape}, expected {shape} finite numbers")
        for name in ("closure", "blink"):
            values = getattr(self, name)
            if n and (values.min() < 0 or values.max() > 1):
                raise SettingsError(f"acting: {name} must lie within 0..1")

    def __len__(self) -> int:
        return len(self.actions)

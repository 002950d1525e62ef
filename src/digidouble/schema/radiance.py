"""The radiance field of a persona: how one person's skin looks, for every expression and view, in a shell around the mesh.

Coordinates are (u, v, height): a place on the face and centimetres above it, so the field moves and stretches with the mesh.

    log colour(u, v, h; c) = fixed(u, v) + tone_h(u, v) + sum_b g_b(c) plane_b(u, v)
    density(h)             = softplus(thickness_h(u, v))        a centimetre

`c` are the conditions: muscle actions, the view in the head's frame, and how far lids and lips are open. `g` is a small network:
radial units around moments that were seen (in all conditions, and in those of view, mouth, brows, eyes and cheeks alone, so that
a smile seen from the left and a frown seen from the right also tell of a smile from the right), then one linear layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from digidouble.errors import DamagedAsset

HEIGHTS_CM = (0.5, 0.25, 0.0)
"""Where a ray through the shell is sampled, from the outside inwards."""
STEP_CM = 0.25
ACTIONS = 26
CONDITIONS = ACTIONS + 2 + 3
"""Muscle actions; view x and y over VIEW_UNIT; right lid, left lid and lip opening over OPENING_UNIT_CM."""
VIEW_UNIT, OPENING_UNIT_CM = 0.25, 0.3
_VIEW, _LIDS, _LIPS = (ACTIONS, ACTIONS + 1), (ACTIONS + 2, ACTIONS + 3), (ACTIONS + 4,)
GROUPS: tuple[tuple[int, ...], ...] = (
    tuple(range(CONDITIONS)),
    _VIEW,
    (0, 1, 2, 3, 4, 5, 6, 11, 12, 13, 14, *_LIPS),
    (15, 16, 17, 18, 19, 20, 21),
    (7, 8, 9, 10, 22, 23, *_LIDS),
    (0, 11, 12, 22, 23, 24, 25),
)
"""Conditions that a radial unit looks at: all; view; mouth; brows; eyes; cheeks. Order of `FaceModel.action_names`."""
COARSE = 64  # side of the arrays over height
LEAST_SIDE, MOST_SIDE, MOST_PLANES, MOST_CENTRES = 64, 1024, 96, 256


@dataclass(frozen=True)
class Radiance:
    """A fitted field.

    Attributes:
        fixed: log colour that does not change. planes: log colour that does, side of at most `fixed`'s.
        tone: log colour of each height over the surface's. thickness: density before softplus, a centimetre; heights as HEIGHTS_CM.
        centres: conditions of moments that were seen. reach: width of the radial units, a group.
        weights: radial units (group by group) -> planes. bias: of the planes.
        low, high: range of the conditions that were seen; beyond it the field is held.
        quality: what the fit reached, for people: name -> number.
    """

    fixed: Float[np.ndarray, "s s 3"]
    planes: Float[np.ndarray, "b t t 3"]
    tone: Float[np.ndarray, "k g g 3"]
    thickness: Float[np.ndarray, "k g g"]
    centres: Float[np.ndarray, "j c"]
    reach: Float[np.ndarray, "r"]
    weights: Float[np.ndarray, "f b"]
    bias: Float[np.ndarray, "b"]
    low: Float[np.ndarray, "c"]
    high: Float[np.ndarray, "c"]
    quality: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        side, (count, t) = self.fixed.shape[0], self.planes.shape[:2]
        if not LEAST_SIDE <= t <= side <= MOST_SIDE or not 1 <= count <= MOST_PLANES:
            raise DamagedAsset(
                f"radiance field: {count} planes of {t} over {side} texels; expected 1..{MOST_PLANES} planes, "
                f"{LEAST_SIDE}..{MOST_SIDE} texels"
            )
        j = len(self.centres)
        heights = (len(HEIGHTS_CM), COARSE, COARSE)
        wanted = {
            "fixed": (side, side, 3), "planes": (count, t, t, 3), "tone": (*heights, 3), "thickness": heights,
            "centres": (j, CONDITIONS), "reach": (len(GROUPS),), "weights": (len(GROUPS) * j, count), "bias": (count,),
            "low": (CONDITIONS,), "high": (CONDITIONS,),
        }  # fmt: skip
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise DamagedAsset(
                    f"radiance field: {name} is {list(getattr(self, name).shape)}, expected {list(shape)}"
                )
        if not 1 <= j <= MOST_CENTRES or not (self.reach > 0).all() or not (self.low <= self.high).all():
            raise DamagedAsset(
                "radiance field: needs 1..256 centres, positive reaches, and low bounds not above high ones"
            )

    @property
    def side(self) -> int:
        """Texels a side of what it renders."""
        return self.fixed.shape[0]

    def __repr__(self) -> str:
        return f"Radiance({self.planes.shape[0]} planes of {self.planes.shape[1]}, {len(self.centres)} moments, {self.side} px)"

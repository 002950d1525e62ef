"""Where the fit of a radiance field starts: its answer in closed form.

Skin unrolled into UV, its light divided out, is regressed on the radial units by least squares with a ridge (a Gaussian process
with additive kernels, on inducing points): mean, principal planes, and the linear layer that mixes them. Widths and ridge are
those that predict whole clusters of moments best from the others. Gradient descent (`radiance_fit`) takes it from there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int

from digidouble.perception.radiance import group_masks
from digidouble.perception.uvgrid import uv_grid
from digidouble.persona.atlas import skin_likelihood
from digidouble.persona.exposures import Exposures
from digidouble.schema.mesh import face_model
from digidouble.schema.radiance import COARSE, GROUPS, HEIGHTS_CM, Radiance
from digidouble.schema.transfer import srgb_decode

PLANE_SIDE = 192  # of the planes that change: five texels a centimetre of skin show every crease
EPS = 2e-3  # linear light under which a logarithm is noise
OPEN, SHUT = -5.0, 4.0  # thickness before softplus, of heights above the skin and of the skin
WIDTHS, RIDGES = (0.7, 1.0, 2.0), (0.02, 0.1, 0.4, 1.6)
LEAST_REACH = 0.05
FEWEST = 6  # moments from which widths can be chosen
GROUP_SHARE = np.array([0.5, *([0.5 / (len(GROUPS) - 1)] * (len(GROUPS) - 1))])
OUTLINE_CM = 2.0
EDGE_ON, SEEN = 0.1, 0.3  # of the weight of a texel's best look
KNOWN = 0.15  # weight of a texel from which it counts as seen


@dataclass(frozen=True)
class StartSettings:
    """planes: principal planes at most. centres: moments that radial units stand around, at most."""

    planes: int = 48
    centres: int = 128


def clusters(points: Float[np.ndarray, "n d"], count: int) -> Int[np.ndarray, "n"]:
    """k-means from the farthest points (no randomness): label of every row."""
    n = len(points)
    chosen = [int(np.linalg.norm(points - points.mean(0), axis=1).argmax())]
    while len(chosen) < min(count, n):
        chosen.append(int(((points[:, None] - points[chosen]) ** 2).sum(-1).min(1).argmax()))
    middle = points[chosen].astype(np.float64)
    labels = np.zeros(n, int)
    for _ in range(25):
        labels = ((points[:, None] - middle) ** 2).sum(-1).argmin(1)
        middle = np.stack(
            [points[labels == k].mean(0) if (labels == k).any() else middle[k] for k in range(len(middle))]
        )
    return labels


def units(
    conditions: Float[np.ndarray, "n c"], centres: Float[np.ndarray, "j c"], reach: Float[np.ndarray, "r"]
) -> Float[np.ndarray, "n f"]:
    """Radial units, group by group: exp(-|x - m|^2 / 2 r^2) over the group's conditions."""
    out = []
    for mask, r in zip(group_masks(), reach, strict=True):
        d2 = (((conditions[:, None] - centres) * mask) ** 2).sum(-1)
        out.append(np.exp(-d2 / (2 * float(r) ** 2)))
    return np.concatenate(out, 1)


def reach_of(conditions: Float[np.ndarray, "n c"], width: float) -> Float32[np.ndarray, "r"]:
    """Width of each group's units: `width` times the median distance between moments."""
    out = []
    for mask in group_masks():
        x = conditions * mask
        d2 = ((x[:, None] - x) ** 2).sum(-1)
        out.append(max(width * float(np.sqrt(np.median(d2))), LEAST_REACH))
    return np.array(out, np.float32)


def log_skin(exposures: Exposures, side: int) -> tuple[Float32[np.ndarray, "n t t 3"], Float32[np.ndarray, "n t t"]]:
    """Log colour with the light divided out, and its weight, at `side` texels."""
    logs = np.empty((len(exposures), side, side, 3), np.float32)
    weights = np.empty((len(exposures), side, side), np.float32)
    for i in range(len(exposures)):
        linear = srgb_decode(np.clip(exposures.display[i].astype(np.float32), 0, 2))
        w = exposures.weight[i].astype(np.float32)
        if side != exposures.side:
            w_small = cv2.resize(w, (side, side), interpolation=cv2.INTER_AREA)
            linear = cv2.resize(linear * (w[..., None] + 1e-3), (side, side), interpolation=cv2.INTER_AREA)
            linear, w = linear / (w_small[..., None] + 1e-3), w_small
        lit = cv2.resize(exposures.lit[i].astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
        logs[i] = np.log(np.maximum(linear, EPS)) - np.log(np.maximum(lit, 0.05))
        weights[i] = w
    return logs, weights


def filled(picture: Float32[np.ndarray, "s s 3"], weight: Float32[np.ndarray, "s s"]) -> Float32[np.ndarray, "s s 3"]:
    """Where nothing is known, the surroundings, ever wider."""
    total, norm = np.zeros_like(picture), np.zeros_like(weight)
    for sigma, share in ((0.0, 1.0), (0.006, 1e-2), (0.03, 1e-4), (0.15, 1e-6)):
        w, x = weight, picture * weight[..., None]
        if sigma:
            w, x = (cv2.GaussianBlur(v, (0, 0), sigma * len(weight)) for v in (w, x))
        total += share * x
        norm += share * w
    return total / (norm[..., None] + 1e-12)


def start(
    exposures: Exposures, prior: Float[np.ndarray, "p p 3"] | None = None, settings: StartSettings | None = None
) -> Radiance:
    """The field in closed form. `prior`: linear albedo of the fused atlas, whose detail stands where no exposure shows the skin."""
    settings = settings or StartSettings()
    n, side = len(exposures), min(PLANE_SIDE, exposures.side)
    x = exposures.conditions.astype(np.float64)
    logs, weight = log_skin(exposures, side)
    mean = _mean(logs, weight)
    # A texel that a frame does not show changes as little as can be there.
    trust = np.clip(weight / KNOWN, 0, 1) * np.clip(weight.sum(0) / (0.05 * n + 0.3), 0, 1)
    logs -= mean
    logs *= trust[..., None]
    # What a change of a logarithm does to the picture grows with brightness.
    bright = np.exp(mean / 2.4).mean(-1, keepdims=True) * uv_grid(side).covered[..., None]
    shares, power, planes = _principal(logs, bright, min(settings.planes, max(n - 1, 1)))
    centres = x[_spread(x, min(settings.centres, n))]
    width, ridge = chosen_width(x, shares * np.sqrt(power)) if n >= FEWEST else (WIDTHS[-1], RIDGES[-1])
    reach = reach_of(x, width)
    heights = len(HEIGHTS_CM)
    thickness = np.full((heights, COARSE, COARSE), OPEN, np.float32)
    thickness[-1] = SHUT
    return Radiance(
        fixed=_fixed(exposures, prior),
        planes=planes.astype(np.float16),
        tone=np.zeros((heights, COARSE, COARSE, 3), np.float32),
        thickness=thickness,
        centres=centres.astype(np.float32),
        reach=reach,
        weights=solved(x, centres, reach, shares, ridge).astype(np.float32),
        bias=np.zeros(shares.shape[1], np.float32),
        low=x.min(0).astype(np.float32),
        high=x.max(0).astype(np.float32),
        quality={"frames": float(n)},
    )


def skin_only(exposures: Exposures) -> Exposures:
    """With less weight where what was seen is, on the whole, not this person's skin: hair, collar and background reach into the
    unrolled face at its outline."""
    side = min(PLANE_SIDE, exposures.side)
    logs, weight = log_skin(exposures, side)
    usual, seen = np.exp(_mean(logs, weight)), np.clip(weight.max(0), 0, 1)
    rim = uv_grid(side).carried(face_model().rim_cm[:, None].astype(np.float32))[..., 0]
    outline = np.clip((OUTLINE_CM - rim) / 0.5, 0, 1)
    likely = 1 - outline * (1 - skin_likelihood(usual, seen, np.zeros_like(seen)))
    likely = cv2.resize(likely, (exposures.side, exposures.side), interpolation=cv2.INTER_LINEAR)
    return replace(exposures, weight=(exposures.weight * likely).astype(np.float16))


def _mean(logs: Float32[np.ndarray, "n s s 3"], weight: Float32[np.ndarray, "n s s"]) -> Float32[np.ndarray, "s s 3"]:
    total = weight.sum(0)
    return filled((logs * weight[..., None]).sum(0) / (total[..., None] + 1e-6), np.clip(total / KNOWN, 0, 1))


def _fixed(exposures: Exposures, prior: Float[np.ndarray, "p p 3"] | None) -> Float32[np.ndarray, "s s 3"]:
    """The mean at the exposures' own resolution; unseen skin continues its tone with the prior's detail."""
    side = exposures.side
    total, weights = np.zeros((side, side, 3), np.float32), np.zeros((side, side), np.float32)
    most = np.zeros((side, side), np.float32)
    for i in range(len(exposures)):  # one at a time: at full resolution they are large
        logs, weight = log_skin(exposures.chosen([i]), side)
        total += logs[0] * weight[0, ..., None]
        weights += weight[0]
        most = np.maximum(most, weight[0])
    known = np.clip((most - EDGE_ON) / SEEN, 0, 1)  # a hundred looks from the edge are no look
    own = filled(total / (weights[..., None] + 1e-6), known)
    if prior is None:
        return own
    atlas = cv2.resize(np.ascontiguousarray(prior, np.float32), (side, side), interpolation=cv2.INTER_AREA)
    other = np.log(np.maximum(atlas, EPS))
    sigma = 0.04 * side
    soft = cv2.GaussianBlur(known, (0, 0), sigma)[..., None] + 1e-4
    shift = cv2.GaussianBlur((own - other) * known[..., None], (0, 0), sigma) / soft
    far = cv2.GaussianBlur(known, (0, 0), max(0.01 * side, 1))[..., None]
    keep = np.minimum(known[..., None], far) * uv_grid(side).covered[..., None] + ~uv_grid(side).covered[..., None]
    return (keep * own + (1 - keep) * (other + shift)).astype(np.float32)


def _principal(
    change: Float32[np.ndarray, "n t t 3"], bright: Float32[np.ndarray, "t t 1"], count: int
) -> tuple[Float[np.ndarray, "n b"], Float[np.ndarray, "b"], Float32[np.ndarray, "b t t 3"]]:
    """Shares of every moment (unit spread), the power of every plane, and the planes: principal components of what is seen."""
    n = len(change)
    if n == 1:
        return np.zeros((1, 1)), np.zeros(1), np.zeros_like(change)
    seen = (change * bright).reshape(n, -1)
    values, vectors = np.linalg.eigh((seen @ seen.T).astype(np.float64))
    order = np.argsort(-values)[:count]
    shares = vectors[:, order] * np.sqrt(n)
    planes = (shares.T.astype(np.float32) @ change.reshape(n, -1)) / n
    return shares, np.maximum(values[order], 0), planes.reshape(-1, *change.shape[1:])


def _spread(x: Float[np.ndarray, "n c"], count: int) -> list[int]:
    """Rows farthest from each other."""
    chosen = [int(np.linalg.norm(x - x.mean(0), axis=1).argmin())]
    far = np.linalg.norm(x - x[chosen[0]], axis=1)
    while len(chosen) < count:
        chosen.append(int(far.argmax()))
        far = np.minimum(far, np.linalg.norm(x - x[chosen[-1]], axis=1))
    return sorted(chosen)


def _kernel(
    a: Float[np.ndarray, "n c"], b: Float[np.ndarray, "m c"], reach: Float[np.ndarray, "r"]
) -> Float[np.ndarray, "n m"]:
    """Half the units of all conditions, half the mean of the groups'."""
    part = units(a, b, reach).reshape(len(a), len(GROUPS), len(b))
    return np.einsum("ngm,g->nm", part, GROUP_SHARE)


def chosen_width(x: Float[np.ndarray, "n c"], shares: Float[np.ndarray, "n b"]) -> tuple[float, float]:
    """Width and ridge that predict left-out clusters of moments best."""
    labels = clusters(x, max(2, min(8, len(x) // 3)))
    best, found = np.inf, (WIDTHS[0], RIDGES[0])
    for width in WIDTHS:
        k = _kernel(x, x, reach_of(x, width))
        for ridge in RIDGES:
            error = 0.0
            for label in np.unique(labels):
                out, rest = labels == label, labels != label
                inner = np.linalg.solve(k[np.ix_(rest, rest)] + ridge * np.eye(int(rest.sum())), shares[rest])
                error += float(((k[np.ix_(out, rest)] @ inner - shares[out]) ** 2).sum())
            if error < best:
                best, found = error, (width, ridge)
    return found


def solved(
    x: Float[np.ndarray, "n c"], centres: Float[np.ndarray, "j c"], reach: Float[np.ndarray, "r"],
    shares: Float[np.ndarray, "n b"], ridge: float,
) -> Float[np.ndarray, "f b"]:  # fmt: skip
    """The linear layer: Gaussian-process regression on inducing points (subset of regressors, Quinonero-Candela & Rasmussen 2005)."""
    cross, own = _kernel(x, centres, reach), _kernel(centres, centres, reach)
    inner = cross.T @ cross + ridge * own + 1e-6 * np.eye(len(centres))
    layer = np.linalg.solve(inner, cross.T @ shares)
    return (GROUP_SHARE[:, None, None] * layer).reshape(len(GROUPS) * len(centres), -1)

"""Fitting a radiance field: the one door to torch (extra `[neural]`), opened only when a persona is built.

The field starts from its closed form (`radiance_start`) and descends on what was filmed: rays are marched through the shell
over every texel, lit by the source's own light, and compared with the frame unrolled into the same UV.

    loss = photometric + gradient + mask + regularisers

First without one cluster of poses and expressions, to find how many steps help where nothing was seen (early stop); then from
the start again on all exposures, that many steps. Every step draws its batch from (seed, step), so a fit that was stopped and
goes on from its checkpoint gives what it would have given.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from digidouble.errors import DamagedAsset, SettingsError
from digidouble.perception.radiance import group_masks
from digidouble.persona.exposures import Exposures
from digidouble.persona.radiance_start import clusters, start
from digidouble.schema.radiance import GROUPS, HEIGHTS_CM, STEP_CM, Radiance

Tensor = Any  # torch.Tensor, which is not there where torch is not
TRAIN_SIDE = 256  # texels at which rays are compared; the fixed part keeps its own resolution
STEEPEST = 0.3
LEAST_VALIDATED = 24  # exposures; with fewer none is left out, and the closed form stands
VALIDATION_CLUSTERS, VALIDATION_SHARE = 8, 0.2
EXPRESSION_NOISE = 0.05
MARCHED, WHOLE = "finding how many steps help", "fitting all frames"


@dataclass(frozen=True)
class FitSettings:
    """How a radiance field is fitted.

    Attributes:
        steps: most steps of gradient descent; the fit stops earlier when frames it has not seen get no better.
        frames: at most this many frames of the sources are learnt from, evenly spread.
        device: auto takes a CUDA device when there is one; or cpu, or cuda.
        threads: of the processor; 0 leaves torch its own choice.
        seed: of everything drawn by chance.
    """

    steps: int = 600
    frames: int = 160
    device: str = "auto"
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("steps", 0, 100_000), ("frames", 1, 2000), ("threads", 0, 256), ("seed", 0, 2**31)):
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"{name} = {getattr(self, name)}: expected {low}..{high}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise SettingsError(f"device = {self.device!r}: expected auto, cpu or cuda")


BATCH = 4
EVERY = 25  # steps between looks at the frames left out, and between checkpoints
PATIENCE = 6  # looks without gain before stopping
RATES = {"fixed": 5e-4, "planes": 3e-4, "tone": 5e-4, "thickness": 2e-2, "weights": 1e-4, "bias": 3e-4}
LOSS = {"gradient": 0.5, "mask": 0.05, "thin": 2e-3, "anchor": 0.02}


@dataclass(frozen=True)
class Progress:
    """phase: in words. step, steps. psnr_db: on frames left out, NaN when none were looked at. best_db: so far."""

    phase: str
    step: int
    steps: int
    psnr_db: float
    best_db: float


@dataclass(frozen=True)
class Fitted:
    """radiance: the field. curve: (phase, step, PSNR in dB on frames left out). stopped_at: steps that helped. seconds: taken,
    restarts included. device: cpu or cuda."""

    radiance: Radiance
    curve: tuple[tuple[str, int, float], ...]
    stopped_at: int
    seconds: float
    device: str


def torch_or_raise() -> Any:
    """torch, imported now.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as e:
        raise SettingsError(
            "--level radiance is fitted with torch, which is not installed; nothing was built. "
            "Install it: pip install 'digidouble[neural]' (or build with --level atlas)"
        ) from e
    return torch


def fit_radiance(
    exposures: Exposures,
    prior: Float[np.ndarray, "p p 3"] | None = None,
    settings: FitSettings | None = None,
    progress: Callable[[Progress], None] | None = None,
    checkpoint: Path | None = None,
) -> Fitted:
    """Fit a field. `checkpoint`: a file written every EVERY steps and taken up when it fits the same exposures and settings.

    Raises:
        SettingsError: torch is not installed, or has no CUDA device although one is asked for.
    """
    torch = torch_or_raise()
    settings = settings or FitSettings()
    device = _device(torch, settings.device)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    began, left_out = time.perf_counter(), validation_rows(exposures)
    state = _State(checkpoint, _key_of(exposures, settings, device))
    tell = progress or (lambda _: None)
    steps = settings.steps
    if settings.steps and left_out.any():
        seen = exposures.chosen(np.flatnonzero(~left_out))
        first = _Descent(torch, start(seen, prior), seen, settings, device)
        steps = first.run(MARCHED, settings.steps, exposures.chosen(np.flatnonzero(left_out)), state, tell)
    elif not left_out.any():
        steps = 0  # too few to tell what helps
    last = _Descent(torch, start(exposures, prior), exposures, settings, device)
    if steps:
        last.run(WHOLE, steps, None, state, tell)
    seconds = state.seconds + time.perf_counter() - began
    looks = [value for phase, _, value in state.curve if phase == MARCHED]
    quality = {
        "frames": float(len(exposures)), "steps": float(steps), "seconds": round(seconds, 1),
        "unseen_psnr_db": round(max(looks), 2) if looks else 0.0, "started_psnr_db": round(looks[0], 2) if looks else 0.0,
    }  # fmt: skip
    state.done()
    return Fitted(replace(last.field(), quality=quality), tuple(state.curve), steps, seconds, device)


def validation_rows(exposures: Exposures) -> np.ndarray:
    """True for the exposures left out to tell when to stop: the cluster of poses and expressions that holds about an eighth of
    them; none where there are few."""
    out = np.zeros(len(exposures), bool)
    if len(exposures) < LEAST_VALIDATED:
        return out
    labels = clusters(exposures.conditions.astype(np.float64), VALIDATION_CLUSTERS)
    sizes = np.bincount(labels)
    good = [k for k in range(len(sizes)) if 0 < sizes[k] <= VALIDATION_SHARE * len(exposures)]
    if not good:
        return out
    return labels == min(good, key=lambda k: abs(sizes[k] - len(exposures) / 8))


def _device(torch: Any, wanted: str) -> str:
    there = bool(torch.cuda.is_available())
    if wanted == "cuda" and not there:
        raise SettingsError("device = cuda: torch finds no CUDA device here; use --device cpu")
    return "cuda" if wanted != "cpu" and there else "cpu"


def _key_of(exposures: Exposures, settings: FitSettings, device: str) -> str:
    """What a checkpoint must have been made from."""
    digest = hashlib.sha256(repr((asdict(settings) | {"threads": 0}, device, RATES, LOSS, BATCH, EVERY)).encode())
    for a in (exposures.display, exposures.weight, exposures.conditions):
        digest.update(np.ascontiguousarray(a).tobytes())
    return digest.hexdigest()


class _State:
    """What a fit remembers beyond its parameters, and its file."""

    def __init__(self, path: Path | None, key: str) -> None:
        self.path, self.key = path, key
        self.curve: list[tuple[str, int, float]] = []
        self.seconds, self._since = 0.0, time.perf_counter()
        self.finished: dict[str, int] = {}
        self.phase, self.step, self.tensors = "", 0, dict[str, np.ndarray]()
        if path is not None and path.is_file():
            self._read(path)

    def _read(self, path: Path) -> None:
        import json

        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "np") as f:
                facts = f.metadata() or {}
                if facts.get("key") != self.key:
                    return
                self.tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118  safe_open is no mapping
            said = json.loads(facts["state"])
            self.curve = [(str(p), int(s), float(v)) for p, s, v in said["curve"]]
            self.finished = {str(k): int(v) for k, v in said["finished"].items()}
            self.phase, self.step, self.seconds = str(said["phase"]), int(said["step"]), float(said["seconds"])
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as e:
            raise DamagedAsset(
                f"{path}: the checkpoint of the fit cannot be read ({e}). Remove it and build again."
            ) from e

    def write(self, phase: str, step: int, tensors: dict[str, np.ndarray]) -> None:
        """The file, under its name only when complete."""
        if self.path is None:
            return
        import json

        from safetensors.numpy import save_file

        now = time.perf_counter()
        self.seconds, self._since = self.seconds + now - self._since, now
        said = {"curve": self.curve, "finished": self.finished, "phase": phase, "step": step, "seconds": self.seconds}
        partial = self.path.with_name(f".{self.path.name}.partial")
        save_file(
            {k: np.ascontiguousarray(v) for k, v in tensors.items()},
            partial,
            {"key": self.key, "state": json.dumps(said)},
        )
        partial.replace(self.path)

    def done(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


class _Descent:
    """A field as parameters of torch, its exposures, and Adam."""

    def __init__(self, torch: Any, begun: Radiance, exposures: Exposures, settings: FitSettings, device: str) -> None:
        self.torch, self.begun, self.settings, self.device = torch, begun, settings, device
        self.side = min(TRAIN_SIDE, exposures.side)
        heights = len(HEIGHTS_CM)
        values = {
            "fixed": np.zeros((1, 3, self.side, self.side), np.float32),
            "planes": begun.planes.astype(np.float32).transpose(0, 3, 1, 2),
            "tone": begun.tone.transpose(0, 3, 1, 2).astype(np.float32),
            "thickness": begun.thickness.astype(np.float32)[:, None],
            "weights": begun.weights.astype(np.float32),
            "bias": begun.bias.astype(np.float32),
        }
        self.params = {
            k: torch.tensor(np.ascontiguousarray(v), device=device, requires_grad=True) for k, v in values.items()
        }
        self.anchor = {k: self.params[k].detach().clone() for k in ("planes", "weights")}
        self.moments = {k: (torch.zeros_like(p), torch.zeros_like(p)) for k, p in self.params.items()}
        fixed = cv2.resize(begun.fixed.astype(np.float32), (self.side, self.side), interpolation=cv2.INTER_AREA)
        self.fixed = self._tensor(fixed.transpose(2, 0, 1)[None])
        self.masks, self.centres = self._tensor(group_masks()), self._tensor(begun.centres)
        self.low, self.high, self.reach = (self._tensor(v) for v in (begun.low, begun.high, begun.reach))
        self.heights = [float(h) for h in HEIGHTS_CM]
        self.exposures = self._loaded(exposures)
        assert len(GROUPS) * len(begun.centres) == len(begun.weights) and heights == len(begun.tone)

    def _tensor(self, a: np.ndarray) -> Tensor:
        return self.torch.tensor(np.ascontiguousarray(a, np.float32), device=self.device)

    def _loaded(self, exposures: Exposures) -> dict[str, Tensor]:
        """Exposures at the training side, half precision, channels first."""
        display, weight = [], []
        for d, w in zip(exposures.display, exposures.weight, strict=True):
            size = (self.side, self.side)
            display.append(cv2.resize(d.astype(np.float32), size, interpolation=cv2.INTER_AREA).astype(np.float16))
            weight.append(cv2.resize(w.astype(np.float32), size, interpolation=cv2.INTER_AREA).astype(np.float16))
        half = {
            "display": np.stack(display).transpose(0, 3, 1, 2), "weight": np.stack(weight)[:, None],
            "lit": exposures.lit.transpose(0, 3, 1, 2), "slant": exposures.slant.transpose(0, 3, 1, 2).astype(np.float16),
        }  # fmt: skip
        out = {k: self.torch.tensor(np.ascontiguousarray(v), device=self.device) for k, v in half.items()}
        return out | {"conditions": self._tensor(exposures.conditions)}

    # --- the field -----------------------------------------------------------------------------------------------------

    def shares(self, conditions: Tensor) -> Tensor:
        """Radial units and the linear layer: [b, c] -> [b, planes]."""
        torch = self.torch
        held = torch.minimum(torch.maximum(conditions, self.low), self.high)
        d2 = ((held[:, None] - self.centres) ** 2) @ self.masks.T  # [b, j, r]
        units = torch.exp(-d2 / (2 * self.reach**2)).permute(0, 2, 1).reshape(len(held), -1)
        return units @ self.params["weights"] + self.params["bias"]

    def rays(self, conditions: Tensor, slant: Tensor) -> tuple[Tensor, Tensor]:
        """Albedo [b, 3, s, s] of the rays through every texel and how much the shell stops of them [b, 1, s, s]; the same
        march as `schema.radiance_kernels.march`."""
        torch, f = self.torch, self.torch.nn.functional
        b, s = len(conditions), self.side

        def up(x: Tensor) -> Tensor:
            return f.interpolate(x, size=(s, s), mode="bilinear", align_corners=False)

        planes = self.params["planes"]
        moving = (self.shares(conditions) @ planes.reshape(len(planes), -1)).reshape(b, *planes.shape[1:])
        colour = torch.exp((up(moving) + self.fixed + self.params["fixed"]).clamp(-9, 2))
        slanted = up(slant)
        longer = 1 / slanted[:, 2:].clamp(min=STEEPEST)
        line = (torch.arange(s, device=self.device) + 0.5) / s
        grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
        left, total = torch.ones_like(longer), torch.zeros_like(colour)
        stopped = left
        for k, height in enumerate(self.heights):
            thick = f.softplus(self.params["thickness"][k][None]) * STEP_CM
            if k == len(self.heights) - 1:
                alpha = 1 - torch.exp(-up(thick) * longer)
                stopped = 1 - left * (1 - alpha)
                total = total + left * torch.exp(up(self.params["tone"][k : k + 1])) * colour
                break
            at = 2 * (grid + height * slanted[:, :2].permute(0, 2, 3, 1)) - 1

            def seen(x: Tensor, at: Tensor = at) -> Tensor:
                return f.grid_sample(x.expand(b, -1, -1, -1), at, padding_mode="border", align_corners=False)

            here = left * (1 - torch.exp(-seen(thick) * longer))
            total = total + here * torch.exp(seen(self.params["tone"][k : k + 1])) * seen(colour)
            left = left - here
        return total, stopped

    def display(self, rows: np.ndarray, from_: dict[str, Tensor], noise: Tensor | None = None) -> Any:
        """Rendered and filmed display-referred colour, weight, and what the shell stops."""
        torch, f = self.torch, self.torch.nn.functional
        at = torch.as_tensor(rows, device=self.device)
        conditions = from_["conditions"][at]
        albedo, stopped = self.rays(conditions if noise is None else conditions + noise, from_["slant"][at].float())
        lit = f.interpolate(from_["lit"][at].float(), size=(self.side, self.side), mode="bilinear", align_corners=False)
        x = albedo * lit.clamp(min=0.05)
        shown = torch.where(x <= 0.0031308, 12.92 * x, 1.055 * x.clamp(min=1e-4) ** (1 / 2.4) - 0.055)
        return shown, from_["display"][at].float(), from_["weight"][at].float(), stopped

    def loss(self, rows: np.ndarray, noise: Tensor) -> Tensor:
        """Photometric + gradient + mask + regularisers."""
        torch = self.torch
        shown, filmed, weight, stopped = self.display(rows, self.exposures, noise)
        e = shown - filmed
        norm = weight.sum() * 3 + 1e-6
        out = (torch.sqrt(e * e + 1e-4) * weight).sum() / norm
        for axis in (2, 3):
            n = e.shape[axis] - 1
            d = e.narrow(axis, 1, n) - e.narrow(axis, 0, n)
            out = (
                out
                + LOSS["gradient"]
                * (d.abs() * torch.minimum(weight.narrow(axis, 1, n), weight.narrow(axis, 0, n))).sum()
                / norm
            )
        out = out + LOSS["mask"] * ((1 - stopped) * weight).sum() / (weight.sum() + 1e-6)
        outer = torch.nn.functional.softplus(self.params["thickness"][:-1])
        out = out + LOSS["thin"] * outer.mean() + 1e-2 * self.params["tone"].square().mean()
        for k in self.anchor:
            scale = self.anchor[k].square().mean() + 1e-8
            out = out + LOSS["anchor"] * (self.params[k] - self.anchor[k]).square().mean() / scale
        return out

    def psnr_db(self, left_out: dict[str, Tensor]) -> float:
        """Mean over the exposures left out, texels weighted."""
        torch, values = self.torch, []
        with torch.no_grad():
            for i in range(0, len(left_out["conditions"]), BATCH):
                rows = np.arange(i, min(i + BATCH, len(left_out["conditions"])))
                shown, filmed, weight, _ = self.display(rows, left_out)
                error = ((shown.clamp(0, 1) - filmed) ** 2 * weight).sum((1, 2, 3)) / (3 * weight.sum((1, 2, 3)) + 1e-6)
                values += (-10 * torch.log10(error.clamp(min=1e-9))).tolist()
        return float(np.mean(values))

    # --- descent -------------------------------------------------------------------------------------------------------

    def run(
        self, phase: str, steps: int, left_out: Exposures | None, state: _State, tell: Callable[[Progress], None]
    ) -> int:
        """Descend; with exposures left out, stop when they get no better. Returns the steps that were best, and is there."""
        if phase in state.finished and phase != WHOLE:
            return state.finished[phase]
        judged = self._loaded(left_out) if left_out is not None else None
        first, best, kept, since = 0, -np.inf, 0, 0
        if state.phase == phase and state.tensors:
            first = self._restore(state)
        else:
            state.curve = [c for c in state.curve if c[0] != phase]
        for s, v in ((s, v) for p, s, v in state.curve if p == phase):
            best, kept, since = (v, s, 0) if v > best + 0.005 else (best, kept, since + 1)
        for step in range(first, steps + 1):
            if step % EVERY == 0 and (step > first or step == 0):
                if judged is not None:
                    now = self.psnr_db(judged)
                    state.curve.append((phase, step, now))
                    best, kept, since = (now, step, 0) if now > best + 0.005 else (best, kept, since + 1)
                state.write(phase, step, self._dump())
                tell(Progress(phase, step, steps, state.curve[-1][2] if state.curve else float("nan"), best))
                if since >= PATIENCE:
                    break
            if step < steps:
                self._step(step, steps)
        if judged is not None:
            state.finished[phase] = kept
            state.write("", 0, {"none": np.zeros(1, np.float32)})
        return kept

    def _step(self, step: int, steps: int) -> None:
        """One step of Adam (Kingma & Ba 2015) on a batch drawn from (seed, step)."""
        torch = self.torch
        rng = np.random.default_rng([self.settings.seed, step])
        count = len(self.exposures["conditions"])
        rows = rng.choice(count, min(BATCH, count), replace=False)
        noise = EXPRESSION_NOISE * rng.standard_normal((len(rows), self.begun.centres.shape[1]))
        loss = self.loss(rows, self._tensor(noise))
        gradients = torch.autograd.grad(loss, list(self.params.values()))
        warm = min(1.0, (step + 1) / 20)
        with torch.no_grad():
            for (name, p), g in zip(self.params.items(), gradients, strict=True):
                m, v = self.moments[name]
                m.mul_(0.9).add_(g, alpha=0.1)
                v.mul_(0.99).addcmul_(g, g, value=0.01)
                rate = RATES[name] * warm / (1 - 0.9 ** (step + 1)) * (1 - 0.99 ** (step + 1)) ** 0.5
                p.addcdiv_(m, v.sqrt().add_(1e-8), value=-rate)

    def _dump(self) -> dict[str, np.ndarray]:
        out = {}
        for k, p in self.params.items():
            for name, t in ((k, p), (f"{k}.m", self.moments[k][0]), (f"{k}.v", self.moments[k][1])):
                out[name] = t.detach().cpu().numpy()
        return out

    def _restore(self, state: _State) -> int:
        try:
            with self.torch.no_grad():
                for k, p in self.params.items():
                    for name, t in ((k, p), (f"{k}.m", self.moments[k][0]), (f"{k}.v", self.moments[k][1])):
                        t.copy_(self.torch.from_numpy(state.tensors[name].copy()))
        except (KeyError, RuntimeError) as e:
            raise DamagedAsset(
                f"{state.path}: the checkpoint does not hold this fit ({e}). Remove it and build again."
            ) from e
        return state.step

    def field(self) -> Radiance:
        """What the parameters say, as the noun."""
        value = {k: p.detach().cpu().numpy().astype(np.float32) for k, p in self.params.items()}
        side = self.begun.side
        change = cv2.resize(value["fixed"][0].transpose(1, 2, 0), (side, side), interpolation=cv2.INTER_CUBIC)
        return replace(
            self.begun,
            fixed=(self.begun.fixed + change).astype(np.float32),
            planes=np.ascontiguousarray(value["planes"].transpose(0, 2, 3, 1)).astype(np.float16),
            tone=np.ascontiguousarray(value["tone"].transpose(0, 2, 3, 1)),
            thickness=np.ascontiguousarray(value["thickness"][:, 0]),
            weights=value["weights"],
            bias=value["bias"],
        )

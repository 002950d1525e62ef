"""Distil SFace into a small vision transformer, and export it.

    python training/identity/train.py --config cpu --faces .work/identity_data/faces.npz --out OUT
    python training/identity/train.py --config gpu --faces .work/identity_data/faces.npz --out OUT

First SFace's answers to invented people (`faces.py`) are computed once (OUT/pool-KEY.npz); then the student learns them and those of the pack: cosine
to the teacher's vector of the clean face, and the likenesses within a batch. Run again, it goes on where it stopped (OUT/state.pt); `--minutes` counts
all runs together. Writes OUT/identity.onnx (opset 17, float32), OUT/identity.pt, OUT/curve.csv. `evaluate.py` judges.
"""

from __future__ import annotations

import argparse
import copy
import csv
import hashlib
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from evaluate import prepared, top1
from faces import Pack, degraded, pool
from model import IdentityNet, parameters
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run besides the pack."""

    device: str
    batch: int
    minutes: float
    rate: float
    invented: int
    threads: int
    every: int = 250
    real: float = 0.3
    """Share of a batch that shows people of the pack."""
    likeness: float = 2.0
    ema: float = 0.999
    seed: int = 1
    steps: int = 10**9


CONFIGS = {
    "gpu": Settings("cuda", 256, 20.0, 1.5e-3, 100_000, 8),
    "cpu": Settings("cpu", 64, 120.0, 1e-3, 10_000, 1),
    "smoke": Settings("cpu", 8, 1.0, 1e-3, 16, 1, every=2, steps=4),
}


@dataclass
class Progress:
    """What a run goes on from."""

    step: int = 0
    seconds: float = 0.0
    rows: list[tuple[float, ...]] = field(default_factory=list)


def batch(
    packs: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], s: Settings, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Degraded faces [n, 3, 112, 112] and the teacher's vectors [n, 128]; `packs` is real crops, their vectors, invented crops, theirs."""
    real, vectors, made, answers = packs
    n = round(s.real * s.batch)
    a, b = rng.integers(len(real), size=n), rng.integers(len(made), size=s.batch - n)
    x = np.stack([degraded(c, rng) for c in (*real[a], *made[b])])
    goal = np.concatenate([vectors[a], answers[b]])
    return torch.from_numpy(x).to(s.device).permute(0, 3, 1, 2).float(), torch.from_numpy(goal).to(s.device)


def loss_of(got: Tensor, goal: Tensor, likeness: float) -> Tensor:
    """One minus the cosine, and the mean squared error of all likenesses within the batch."""
    v = functional.normalize(got, dim=1)
    return 1 - (v * goal).sum(1).mean() + likeness * ((v @ v.T - goal @ goal.T) ** 2).mean()


@torch.no_grad()
def validated(model: IdentityNet, held: Pack, crowd: np.ndarray, device: str) -> tuple[float, float]:
    """(cosine to the teacher, top-1 among the crowd) of degraded faces of the validation people."""
    model.eval()

    def embed(crops: np.ndarray) -> np.ndarray:
        planes = torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 3, 1, 2))).to(device).float()
        return torch.cat([functional.normalize(model(p), dim=1) for p in planes.split(32)]).cpu().numpy()

    clean, hard = embed(prepared(held.crops, None)), embed(prepared(held.crops, 3))
    model.train()
    return float((clean * held.teacher).sum(1).mean()), top1(clean, hard, held.person, embed(crowd))[1]


def train(s: Settings, learn: Pack, held: Pack, made: tuple[np.ndarray, np.ndarray], out: Path) -> IdentityNet:
    """By the clock; returns the average of the weights."""
    torch.manual_seed(s.seed)
    torch.set_num_threads(s.threads)
    model = IdentityNet().to(s.device)
    average = copy.deepcopy(model)
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, s.rate)
    at, losses, began = Progress(), [], time.perf_counter()
    if (out / "state.pt").exists():
        saved = torch.load(out / "state.pt", map_location=s.device, weights_only=True)
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        at = Progress(saved["step"], saved["seconds"], [tuple(r) for r in saved["rows"]])
        print(f"going on from step {at.step}", flush=True)
    before = at.seconds
    rng = np.random.default_rng(s.seed + at.step)
    crowd = prepared(learn.crops[np.unique(learn.person, return_index=True)[1]], None)
    packs = (learn.crops, learn.teacher, *made)
    done = max(at.seconds / (60 * s.minutes), at.step / s.steps)  # a finished run that is started again is finished
    while done < 1:
        done = max(at.seconds / (60 * s.minutes), (at.step + 1) / s.steps)
        for group in optimiser.param_groups:
            group["lr"] = (
                s.rate * min(1.0, (at.step + 1) / 200) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1))))
            )
        x, goal = batch(packs, s, rng)
        with torch.autocast(s.device, torch.bfloat16):
            got = model(x)
        loss = loss_of(got.float(), goal, s.likeness)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            share = 1 - min(s.ema, (at.step + 1) / (at.step + 10))
            for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
                kept.lerp_(new, share) if kept.is_floating_point() else kept.copy_(new)
        losses.append(float(loss.detach()))
        at.step, at.seconds = at.step + 1, before + time.perf_counter() - began
        if at.step % s.every == 0 or done >= 1:
            cosine, right = validated(average, held, crowd, s.device)
            at.rows.append(
                (at.step, round(at.seconds, 1), round(float(np.mean(losses)), 4), round(cosine, 4), round(right, 4))
            )
            losses.clear()
            print("identity step {} {} s loss {} val cosine {} top-1 {}".format(*at.rows[-1]), flush=True)
            keep(out, model, average, optimiser, at)
    return average


def keep(out: Path, model: IdentityNet, average: IdentityNet, optimiser: torch.optim.Optimizer, at: Progress) -> None:
    """What a later run goes on from, and the curve."""
    state = {"model": model.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
    torch.save(
        state | {"step": at.step, "seconds": at.seconds, "rows": [list(r) for r in at.rows]}, out / "state.partial"
    )
    (out / "state.partial").replace(out / "state.pt")
    with (out / "curve.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("step", "seconds", "loss", "val_cosine", "val_top1"), *at.rows])


def export(model: IdentityNet, path: Path) -> None:
    """Input `data`, output `fc1`, as the teacher's file has them; n is free."""
    model = copy.deepcopy(model).cpu().float().eval()
    torch.onnx.export(
        model, (torch.rand(1, 3, 112, 112) * 255,), str(path), input_names=["data"], output_names=["fc1"],
        dynamic_axes={"data": {0: "n"}, "fc1": {0: "n"}}, opset_version=17, dynamo=False,
    )  # fmt: skip


def pool_path(learn: Pack, s: Settings, out: Path) -> Path:
    """A file for all that the pool depends on: the pack's faces and people, the seed and how many are invented."""
    key = hashlib.sha256(f"{s.seed} {s.invented} {learn.crops.shape} {learn.crops.dtype}".encode())
    key.update(np.ascontiguousarray(learn.crops).tobytes())
    key.update(np.ascontiguousarray(learn.person).tobytes())
    return out / f"pool-{key.hexdigest()[:12]}.npz"


def invented_people(learn: Pack, s: Settings, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """The pool, from OUT/pool-KEY.npz when a run of the same faces, seed and number made it before."""
    path = pool_path(learn, s, out)
    if not path.exists():
        from digidouble.perception.identity import IdentityEmbedder

        crops, vectors = pool(learn, IdentityEmbedder(threads=s.threads).embed_crops, s.invented, s.seed)
        np.savez(path.with_suffix(".partial.npz"), crops=crops, vectors=vectors)
        path.with_suffix(".partial.npz").replace(path)
    with np.load(path, allow_pickle=False) as z:
        return z["crops"], z["vectors"]


def main() -> None:
    """Invent, train, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=sorted(CONFIGS), required=True)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, help="overrides the config's time")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    s = CONFIGS[args.config]
    s = replace(s, minutes=args.minutes or s.minutes, seed=args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    learn, held = Pack.read(args.faces, "train"), Pack.read(args.faces, "val")
    print(
        f"{len(learn)} faces of {len(np.unique(learn.person))} people, {parameters(IdentityNet())} parameters",
        flush=True,
    )
    model = train(s, learn, held, invented_people(learn, s, args.out), args.out)
    torch.save({k: v.cpu().contiguous() for k, v in model.state_dict().items()}, args.out / "identity.pt")
    export(model, args.out / "identity.onnx")


if __name__ == "__main__":
    main()

"""Train the detail network and export it with its four-step sampler.

    python training/diffusion/train.py --config gpu --pack .work/refine_data/detail.npz --out OUT
    python training/diffusion/train.py --config cpu --pack .work/refine_data/detail.npz --out OUT

First part: flow matching. Second part: reflow, the straightened flow learnt from pairs (noise, 16-step sample) of the average
so far. Writes OUT/detail.onnx (opset 17, float32), OUT/detail.pt, OUT/curve.csv, OUT/scores.json, OUT/sheet_test.jpg.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from bank import SMALL, Bank, Patches
from evaluate import best_unsharp, evaluate, sheet
from model import STEPS, UNIT, DetailNet, high_band
from torch import Tensor, nn


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run besides the pack."""

    device: str
    batch: int
    minutes: float
    rate: float
    amp: bool
    every: int
    reflow: float = 0.65
    """Share of the time after which the flow is straightened."""
    teacher_steps: int = 16
    seed: int = 1
    ema: float = 0.998
    steps: int = 10**9


CONFIGS = {
    "gpu": Settings("cuda", 192, 8.0, 8e-4, True, 1000, teacher_steps=8),
    "cpu": Settings("cpu", 16, 600.0, 4e-4, True, 500),
    "smoke": Settings("cpu", 4, 1.0, 4e-4, False, 2, teacher_steps=2, steps=4),
}


def times(count: int, like: Tensor) -> Tensor:
    """Half of them where the sampler will look, half anywhere."""
    grid = torch.randint(STEPS, (count,), device=like.device) / STEPS
    return torch.where(torch.rand(count, device=like.device) < 0.5, grid, torch.rand(count, device=like.device))


def flow_loss(model: DetailNet, p: Patches, noise: Tensor, goal: Tensor, settings: Settings) -> Tensor:
    """Mean squared error of the velocity on the straight line from noise to goal."""
    t = times(len(goal), goal)
    at = t[:, None, None, None]
    with torch.autocast(settings.device, torch.bfloat16, enabled=settings.amp):
        got = model.velocity((1 - at) * noise + at * goal, p.low, p.place, t)
    return ((got.float() - (goal - noise)) ** 2).mean()


def train(settings: Settings, bank: Bank, held: Bank, out: Path) -> DetailNet:
    """Run both parts by the clock; returns the average."""
    device = torch.device(settings.device)
    torch.manual_seed(settings.seed)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    model = DetailNet().to(device, memory_format=torch.channels_last)
    with torch.no_grad():
        for k, small in enumerate(SMALL):
            model.prior.measure(k, bank.batch(2048 if settings.device == "cuda" else 256, small, True).detail)
    average, teacher = copy.deepcopy(model), None
    amounts = {s: best_unsharp(held, s) for s in SMALL}
    optimiser = torch.optim.AdamW(model.parameters(), settings.rate, weight_decay=1e-3, fused=settings.device == "cuda")
    rows, losses, began, step, done = [], [], time.perf_counter(), 0, 0.0
    while done < 1:
        done = max((time.perf_counter() - began) / (60 * settings.minutes), step / settings.steps)
        part = done / settings.reflow if teacher is None else (done - settings.reflow) / (1 - settings.reflow)
        peak = settings.rate * (1.0 if teacher is None else 0.4)
        for group in optimiser.param_groups:
            group["lr"] = peak * min(1.0, (step + 1) / 300) * (0.55 + 0.45 * np.cos(np.pi * min(max(part, 0), 1)))
        if teacher is None and done > settings.reflow:
            teacher = copy.deepcopy(average)
            model.load_state_dict(average.state_dict())
        p = bank.batch(settings.batch, SMALL[step % len(SMALL)], True)
        noise, goal = torch.randn_like(p.low), p.detail
        start = model.prior(noise, p.place)
        if teacher is not None:
            with torch.no_grad(), torch.autocast(settings.device, torch.bfloat16, enabled=settings.amp):
                goal = high_band(teacher.sample(p.low, p.place, noise, settings.teacher_steps).float() / UNIT, p.scale)
        loss = flow_loss(model, p, start, goal, settings)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(
                list(average.parameters()), list(model.parameters()), 1 - min(settings.ema, (step + 1) / (step + 10))
            )
        losses.append(loss.detach())
        step += 1
        if step % settings.every == 0 or done >= 1:
            score = evaluate(average, held, amounts, 256 if settings.device == "cuda" else 8)
            errors = [round(v["restored"], 3) for v in score.values()]
            rows.append((step, round(time.perf_counter() - began, 1), float(torch.stack(losses).mean()), *errors))
            losses.clear()
            print(f"detail step {step} {rows[-1][1]} s loss {rows[-1][2]:.4f} val spectrum error {errors}", flush=True)
            with (out / "curve.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("step", "seconds", "loss", *[f"x{s}" for s in score]), *rows])
    calibrate(average, bank, 2048 if settings.device == "cuda" else 16)
    return average


@torch.no_grad()
def calibrate(model: DetailNet, bank: Bank, count: int) -> None:
    """The last filter, from the training people as they are (no augmentation)."""
    for k, small in enumerate(SMALL):
        got, real = [], []
        for _ in range(max(1, count // 256)):
            p = bank.batch(min(count, 256), small, False)
            got.append(high_band(model.sample(p.low, p.place, torch.randn_like(p.low)), p.scale) / UNIT)
            real.append(p.detail)
        model.prior.measure_finish(k, torch.cat(got), torch.cat(real))


def export(model: DetailNet, path: Path) -> None:
    """Inputs low, place, noise, output detail; n, h and w are free."""
    model = copy.deepcopy(model).cpu().float().eval()
    example = (torch.rand(1, 3, 64, 64), torch.rand(1, 4, 64, 64), torch.randn(1, 3, 64, 64))
    names = ["low", "place", "noise", "detail"]
    torch.onnx.export(
        model, example, str(path), input_names=names[:3], output_names=names[3:],
        dynamic_axes={k: {0: "n", 2: "h", 3: "w"} for k in names}, opset_version=17, dynamo=False,
    )  # fmt: skip


def main() -> None:
    """Train, score on the test people, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=sorted(CONFIGS), required=True)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, help="overrides the config's time")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    settings = CONFIGS[args.config]
    settings = replace(settings, minutes=args.minutes or settings.minutes, seed=args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(settings.device)
    bank, held, test = (Bank(args.pack, s, device, settings.seed) for s in ("train", "val", "test"))
    print("detail bank", len(bank.names), len(held.names), len(test.names), flush=True)
    model = train(settings, bank, held, args.out)
    torch.save({k: v.cpu().contiguous() for k, v in model.state_dict().items()}, args.out / "detail.pt")
    export(model, args.out / "detail.onnx")
    amounts = {s: best_unsharp(held, s) for s in SMALL}
    count = 1024 if settings.device == "cuda" else 8
    found = {"val": evaluate(model, held, amounts, count), "test": evaluate(model, test, amounts, count)}
    (args.out / "scores.json").write_text(
        json.dumps(found | {"unsharp": {str(k): v for k, v in amounts.items()}}, indent=1)
    )
    for scale, value in found["test"].items():
        print(
            "detail test", scale, {k: v if isinstance(v, list) else round(v, 4) for k, v in value.items()}, flush=True
        )
    cv2.imwrite(str(args.out / "sheet_test.jpg"), sheet(model, test, amounts), [cv2.IMWRITE_JPEG_QUALITY, 92])


if __name__ == "__main__":
    main()

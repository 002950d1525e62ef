"""Train the matte network and export it.

    python training/matte/train.py --config gpu --pack .work/matte_data/pack.npz --out OUT     # one large GPU, about 7 minutes
    python training/matte/train.py --config tune --start matte.pt ...   # half an hour on two cores, from a trained state
    python training/matte/train.py --config cpu --pack .work/matte_data/pack.npz --out OUT     # two CPU cores, hours

Writes OUT/matte.onnx (EMA weights, opset 17, float32), OUT/matte.pt (state dict), OUT/curve.csv and OUT/preview.png.
"""

from __future__ import annotations

import argparse
import copy
import csv
import time
from dataclasses import dataclass, replace
from pathlib import Path

import bank as bank_module
import cv2
import numpy as np
import torch
from evaluate import evaluate, preview
from model import MatteNet
from torch import Tensor
from torch.nn import functional

from composite import Batch, Compositor


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run besides the pack."""

    device: str
    steps: int
    batch: int
    drawn: int
    """Drawn layers: this many blobs, other kinds in proportion (bank.DRAWN)."""
    glasses_each: int
    workers: int
    rate: float
    minutes: float
    """The run ends its schedule early when this much time is gone; the schedule follows the clock and the steps."""
    amp: bool
    seed: int = 1
    ema: float = 0.999
    warm: int = 200
    """Steps in which the rate rises."""
    look: int = 500
    """Steps between looks at the validation people; the averaged weights are kept at each."""


CONFIGS = {
    "gpu": Settings("cuda", 12000, 256, 1000, 2, 14, 3e-3, 7.0, True),
    "cpu": Settings("cpu", 12000, 32, 400, 1, 2, 2e-3, 600.0, False),
    "tune": Settings("cpu", 2000, 24, 240, 1, 2, 6e-4, 30.0, True, ema=0.985, warm=15, look=50),
    "mend": Settings("cpu", 2000, 16, 60, 1, 2, 3e-4, 5.0, True, ema=0.95, warm=5, look=20),
    "smoke": Settings("cpu", 6, 8, 16, 1, 2, 2e-3, 2.0, False),
}


def loss_of(logits: Tensor, batch: Batch) -> Tensor:
    """Binary cross entropy (edges and hidden pixels count more) plus Dice of both classes, over known hull pixels."""
    known = batch.weight * batch.hull
    face = batch.truth / batch.hull.clamp(min=0.2)
    edge = functional.max_pool2d(face, 5, 1, 2) + functional.max_pool2d(-face, 5, 1, 2)
    importance = known * (1 + 2 * edge + 1.5 * (1 - face))
    cross = functional.binary_cross_entropy_with_logits(logits, face.clamp(0, 1), reduction="none")
    cross = (cross * importance).sum() / importance.sum()
    alpha = torch.sigmoid(logits)
    dice = lambda a, b: 1 - (2 * (a * b * known).sum((1, 2, 3)) + 20) / (((a + b) * known).sum((1, 2, 3)) + 20)  # noqa: E731
    return cross + 0.5 * (dice(alpha, face).mean() + dice(1 - alpha, 1 - face).mean())


def export(model: MatteNet, path: Path) -> None:
    """The ONNX file: input `crop` [n, 4, 128, 128], output `alpha` [n, 1, 128, 128]; nothing to normalise outside."""
    torch.onnx.export(
        model.eval().cpu(), (torch.rand(1, 4, 128, 128),), str(path), input_names=["crop"], output_names=["alpha"],
        dynamic_axes={"crop": {0: "n"}, "alpha": {0: "n"}}, opset_version=17, dynamo=False,
    )  # fmt: skip


def smoothed(target: MatteNet, model: MatteNet, decay: float) -> None:
    """One step of the moving average; buffers are copied."""
    with torch.no_grad():
        torch._foreach_lerp_(list(target.parameters()), list(model.parameters()), 1 - decay)
        for kept, new in zip(target.buffers(), model.buffers(), strict=True):
            kept.copy_(new)


def save(model: MatteNet, path: Path) -> None:
    """The state dict, on the CPU."""
    torch.save({k: v.cpu().contiguous() for k, v in model.state_dict().items()}, path)


def train(settings: Settings, pack: Path, out: Path, start: Path | None) -> MatteNet:
    """Run the schedule; returns the averaged model on the training device."""
    began = time.perf_counter()
    device = torch.device(settings.device)
    torch.manual_seed(settings.seed)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    load = lambda split, share: bank_module.load(  # noqa: E731
        pack, split, max(int(settings.drawn * share), 8), settings.glasses_each, settings.workers, device
    )
    source, held = Compositor(load("train", 1.0), settings.seed), load("val", 0.1)
    print(f"bank ready after {time.perf_counter() - began:.0f} s", flush=True)
    model = MatteNet().to(device, memory_format=torch.channels_last)
    if start is not None:
        model.load_state_dict(torch.load(start, map_location=device, weights_only=True))
    average = copy.deepcopy(model).eval()
    optimiser = torch.optim.AdamW(model.parameters(), settings.rate, weight_decay=1e-3, fused=settings.device == "cuda")
    rows, began, done = [], time.perf_counter(), 0.0
    for step in range(settings.steps):
        done = max(step / settings.steps, (time.perf_counter() - began) / (60 * settings.minutes))
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = (
                settings.rate * min(1.0, (step + 1) / settings.warm) * (0.5 + 0.5 * np.cos(np.pi * done)) + 1e-6
            )
        batch = source.batch(settings.batch)
        pixels = torch.cat([batch.crop, batch.hull], 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast(settings.device, torch.bfloat16, enabled=settings.amp):
            logits = model.logits(pixels)
        loss = loss_of(logits.float(), batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        smoothed(average, model, min(settings.ema, (step + 1) / (step + 10)))
        if step % settings.look == 0 or step == settings.steps - 1:
            score = evaluate(average, held, count=240 if settings.device == "cuda" else 24, seed=5, kinds=("mixed",))[
                "mixed"
            ]
            rows.append((step, round(time.perf_counter() - began, 1), float(loss), *score.values()))
            print(f"step {step} {rows[-1][1]} s loss {rows[-1][2]:.4f} val {score}", flush=True)
            with (out / "curve.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("step", "seconds", "loss", *score.keys()), *rows])
            save(average, out / "matte.pt")
    cv2.imwrite(str(out / "preview.png"), preview(average, source, 24))
    return average


def main() -> None:
    """Train, save, export, and print the test scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=sorted(CONFIGS), required=True)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="state dict to go on from")
    parser.add_argument("--minutes", type=float, help="overrides the config's time")
    parser.add_argument("--rate", type=float, help="overrides the config's learning rate")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    settings = CONFIGS[args.config]
    settings = replace(
        settings, minutes=args.minutes or settings.minutes, rate=args.rate or settings.rate, seed=args.seed
    )
    args.out.mkdir(parents=True, exist_ok=True)
    model = train(settings, args.pack, args.out, args.start)
    save(model, args.out / "matte.pt")
    test = bank_module.load(
        args.pack, "test", max(settings.drawn // 8, 8), 1, settings.workers, torch.device(settings.device)
    )
    for kind, score in evaluate(model, test, count=600 if settings.device == "cuda" else 24, seed=7).items():
        print("test", kind, score, flush=True)
    cv2.imwrite(str(args.out / "preview_test.png"), preview(model, Compositor(test, 3), 24))
    export(model, args.out / "matte.onnx")


if __name__ == "__main__":
    main()

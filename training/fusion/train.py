"""Train the fusion network and export it.

    python training/fusion/train.py --config gpu --pack .work/refine_data/fusion.npz --out OUT    # one large GPU, about 8 minutes
    python training/fusion/train.py --config cpu --pack .work/refine_data/fusion.npz --out OUT    # two CPU cores, a night

Writes OUT/fusion_keys.onnx and OUT/fusion_moment.onnx (the average of the weights at the step that was best on the validation people, opset 17, float32),
OUT/fusion.pt, OUT/curve.csv, OUT/scores.json and the sheets.
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
from evaluate import attention_sheet, beside, evaluate, sheet
from model import ANSWERS, DYNAMIC, ENCODED, SIDE, SIZE, FusionNet, rendered
from pack import EPS, Batch, Pack, blurred, low, toned
from torch import Tensor, nn
from torch.nn import functional

DETAIL = 0.3  # weight of the amount of detail against its place


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run besides the pack."""

    device: str
    batch: int
    minutes: float
    rate: float
    amp: bool
    every: int
    """Steps between two looks at the validation people."""
    seed: int = 1
    ema: float = 0.998
    decay: float = 0.1
    dropout: float = 0.15
    detail: float = DETAIL
    steps: int = 10**9


CONFIGS = {
    "gpu": Settings("cuda", 64, 4.0, 8e-4, True, 400),
    "cpu": Settings("cpu", 16, 600.0, 6e-4, True, 500),
    "smoke": Settings("cpu", 4, 1.0, 6e-4, False, 3, steps=4),
}


def local_detail(log: Tensor, sigma: float) -> Tensor:
    """Root mean square of what is finer than a Gaussian, over about eight texels: how much detail there is, wherever it lies."""
    return torch.sqrt(blurred((log - blurred(log, sigma)) ** 2, 2.0) + 1e-5)


def loss_of(
    b: Batch, gain: Tensor, flow: Tensor, bias: Tensor, offset: Tensor, visible: Tensor, detail: float = DETAIL
) -> Tensor:
    """Log-colour L1 and gradient L1 where the truth was seen, after the tone match; the amount of detail in two bands (without
    it half of the gain in PSNR is blur); a small price on flow beyond the plate's and on tone in the gain; the true displacement of
    the mesh and how far each place is seen."""
    out = rendered(b.keys[:, 0, :3], gain, flow, bias)
    log, truth = toned(out, b.target, b.weight), torch.log(b.target + EPS)
    error = (log - truth) * b.weight
    amount = sum(((local_detail(log, s) - local_detail(truth, s)) * b.weight).abs().mean() for s in (1.0, 2.0))
    slope = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    extra = flow - b.dynamic[:, 7:9]
    rough = extra.diff(dim=-1).abs().mean() + extra.diff(dim=-2).abs().mean()
    idle = (low(gain, b.weight) ** 2).mean()
    mesh = (functional.avg_pool2d(b.dynamic[:, :3] - b.shift, SIZE // SIDE) + offset).abs().mean()
    seen = functional.binary_cross_entropy(visible, functional.avg_pool2d(b.visible, 2).clamp(0, 1))
    price = 0.004 * rough + 0.05 * idle + 0.0005 * extra.abs().mean()
    return error.abs().mean() + slope + detail * amount + price + 0.1 * mesh + 0.01 * seen


class Keys(nn.Module):
    """The half of the network that reads the keys, once for all frames."""

    def __init__(self, whole: FusionNet) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`FusionNet.encoded`."""
        return self.whole.encoded(keys)


class MomentHalf(nn.Module):
    """The half that answers for one moment."""

    def __init__(self, whole: FusionNet) -> None:
        super().__init__()
        self.whole = whole

    def forward(
        self, patches: Tensor, middle: Tensor, coarse: Tensor, first: Tensor, dynamic: Tensor, facts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """`FusionNet.answer`."""
        return self.whole.answer(patches, middle, coarse, first, dynamic, facts)


def export(model: FusionNet, folder: Path) -> None:
    """`fusion_keys.onnx`: keys -> ENCODED. `fusion_moment.onnx`: ENCODED, first, dynamic, facts -> ANSWERS (see `model`). The numbers of
    samples n and keys k are free."""
    model = copy.deepcopy(model).cpu().float().eval()
    keys = torch.rand(1, 2, 7, SIZE, SIZE)
    with torch.no_grad():
        encoded = model.encoded(keys)
    moment = (*encoded, torch.rand(1, 3, SIZE, SIZE), torch.rand(1, DYNAMIC, SIZE, SIZE), torch.rand(1, 28))
    several = {"patches": {0: "n", 1: "k256"}, "middle": {0: "n", 1: "k"}, "coarse": {0: "n", 1: "k"}}
    single = {v: {0: "n"} for v in ("first", "dynamic", "facts", *ANSWERS)}
    torch.onnx.export(
        Keys(model).eval(), (keys,), str(folder / "fusion_keys.onnx"), input_names=["keys"], output_names=list(ENCODED),
        dynamic_axes={"keys": {0: "n", 1: "k"}, **several}, opset_version=17, dynamo=False,
    )  # fmt: skip
    torch.onnx.export(
        MomentHalf(model).eval(), moment, str(folder / "fusion_moment.onnx"), input_names=[*ENCODED, "first", "dynamic", "facts"],
        output_names=list(ANSWERS), dynamic_axes={**several, **single}, opset_version=17, dynamo=False,
    )  # fmt: skip


def train(settings: Settings, pack: Pack, out: Path) -> FusionNet:
    """Run the schedule by the clock; returns the averaged model of the best validation score."""
    device = torch.device(settings.device)
    torch.manual_seed(settings.seed)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    model = FusionNet(dropout=settings.dropout).to(device)
    model.opening.copy_(pack.opening)
    average, best, best_score = copy.deepcopy(model), copy.deepcopy(model), -np.inf
    plain = [p for p in model.parameters() if p.ndim < 2]
    heavy = [p for p in model.parameters() if p.ndim >= 2]
    groups = [{"params": heavy, "weight_decay": settings.decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, settings.rate, betas=(0.9, 0.98), fused=settings.device == "cuda")
    rows, losses, began = [], [], time.perf_counter()
    step, done = 0, 0.0
    while done < 1:
        done = max((time.perf_counter() - began) / (60 * settings.minutes), step / settings.steps)
        rate = settings.rate * min(1.0, (step + 1) / 300) * (0.5 + 0.5 * np.cos(np.pi * min(done, 1))) + 1e-6
        for group in optimiser.param_groups:
            group["lr"] = rate
        b = pack.training_batch(settings.batch)
        with torch.autocast(settings.device, torch.bfloat16, enabled=settings.amp):
            answer = model(b.keys, b.dynamic, b.facts)
        loss = loss_of(b, *(a.float() for a in answer), settings.detail)
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
            value = evaluate(average, pack, "val", 16, only=("keys", "fusion", "fusion_stand_in"))["all"]
            score = (value["fusion"]["psnr"] + value["fusion_stand_in"]["psnr"]) / 2 - value["keys"]["psnr"]
            slope = value["fusion"]["gradient"] / value["keys"]["gradient"]
            seconds, mean = round(time.perf_counter() - began, 1), float(torch.stack(losses).mean())
            rows.append((step, seconds, mean, score, slope, value["fusion"]["sharpness"]))
            losses.clear()
            print(
                f"fusion step {step} {seconds} s loss {mean:.4f} val gain {score:.3f} dB gradient x{slope:.3f} "
                f"sharpness {rows[-1][5]:.2f}",
                flush=True,
            )
            with (out / "curve.csv").open("w", newline="") as file:
                csv.writer(file).writerows(
                    [("step", "seconds", "loss", "val_gain_db", "val_gradient", "val_sharpness"), *rows]
                )
            # A late step must be clearly worse to lose against an early one: three people decide.
            if score > best_score - 0.02:
                best_score, best = max(score, best_score), copy.deepcopy(average)
    return best


def main() -> None:
    """Train, score on the test people, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=sorted(CONFIGS), required=True)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, help="overrides the config's time")
    parser.add_argument("--dropout", type=float, help="overrides the config's dropout")
    parser.add_argument("--decay", type=float, help="overrides the config's weight decay")
    parser.add_argument("--detail", type=float, help="overrides the config's weight of the amount of detail")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    settings = CONFIGS[args.config]
    given = {k: getattr(args, k) for k in ("minutes", "dropout", "decay", "detail") if getattr(args, k) is not None}
    settings = replace(settings, seed=args.seed, **given)
    args.out.mkdir(parents=True, exist_ok=True)
    pack = Pack(args.pack, torch.device(settings.device), settings.seed)
    print(
        f"fusion pack {len(pack.skin)} rows, {len(pack.people)} people",
        {k: len(v) for k, v in pack.split.items()},
        flush=True,
    )
    model = train(settings, pack, args.out)
    torch.save({k: v.cpu().contiguous() for k, v in model.state_dict().items()}, args.out / "fusion.pt")
    export(model, args.out)
    found = {s: evaluate(model, pack, s, 32) for s in ("val", "test")}
    found["beside"] = {"all": {s: beside(model, pack, s, 32) for s in ("val", "test")}}
    found["test_4_keys"] = evaluate(model, pack, "test", 32, 4, ("fusion",))
    (args.out / "scores.json").write_text(json.dumps(found, indent=1))
    for split in ("val", "test"):
        print("fusion", split, "beside", found["beside"]["all"][split], flush=True)
    for split, name, value in ((s, n, v) for s in ("val", "test") for n, v in found[s]["all"].items()):
        print("fusion", split, name, {k: round(v, 4) for k, v in value.items()}, flush=True)
    print("fusion test, four keys", found["test_4_keys"]["all"]["fusion"], flush=True)
    cv2.imwrite(str(args.out / "sheet_test.jpg"), sheet(model, pack, "test"), [cv2.IMWRITE_JPEG_QUALITY, 92])
    cv2.imwrite(str(args.out / "attention_test.jpg"), attention_sheet(model, pack), [cv2.IMWRITE_JPEG_QUALITY, 92])


if __name__ == "__main__":
    main()

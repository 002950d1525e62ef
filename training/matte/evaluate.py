"""How good a matte is, on composited truth: people, hands, masks and textures never trained on.

    python training/matte/evaluate.py --pack .work/matte_data/pack.npz --model src/digidouble/shipped/matte.onnx

Per kind of occluder and for the training mix: IoU of the visible face (matte and, as baseline, the mesh hull), IoU of the
hidden part inside the hull, and the share of the visible face that the matte eats. Only pixels of known truth count.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import bank as bank_module
import numpy as np
import torch
from torch import Tensor

from composite import KINDS, Batch, Compositor

ALL_KINDS = ("mixed", "none", "glasses", "hair", "strands", *KINDS)
Matte = Callable[[Tensor], Tensor]


def scores(alpha: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Per-sample IoU and error shares at threshold 0.5, [n] each; nan where a sample hides nothing."""
    known = (batch.weight > 0.5) & (batch.hull > 0.5)
    face, seen = (batch.truth > 0.5) & known, (alpha > 0.5) & known
    count = lambda m: m.sum((1, 2, 3)).float()  # noqa: E731
    hidden, said = known & ~face, known & ~seen
    enough = torch.where(count(hidden) > 30, 1.0, torch.nan)
    return {
        "iou": count(face & seen) / count(face | seen).clamp(min=1),
        "hull_iou": count(face) / count(known).clamp(min=1),
        "hidden_iou": count(hidden & said) / count(hidden | said).clamp(min=1) * enough,
        "eaten": count(face & said) / count(face).clamp(min=1),
    }


@torch.no_grad()
def evaluate(
    model: Matte, bank: bank_module.Bank, count: int, seed: int, kinds: tuple[str, ...] = ALL_KINDS
) -> dict[str, dict[str, float]]:
    """Mean scores for the mix and for each kind of occluder alone, `count` samples each."""
    out = {}
    for kind in kinds:
        source, rows = Compositor(bank, seed), []
        for _ in range(0, count, 24):
            batch = source.batch(24, None if kind == "mixed" else kind)
            rows.append(scores(model(torch.cat([batch.crop, batch.hull], 1)).float(), batch))
        means = {key: torch.cat([r[key] for r in rows]) for key in rows[0]}
        out[kind] = {key: round(float(torch.nanmean(v)), 4) for key, v in means.items()}
    return out


@torch.no_grad()
def preview(model: Matte, source: Compositor, count: int) -> np.ndarray:
    """A sheet: picture, truth (unknown is grey) and matte of `count` samples."""
    batch = source.batch(count)
    alpha = model(torch.cat([batch.crop, batch.hull], 1)).float()
    truth = torch.where(batch.weight > 0.3, batch.truth, 0.4)
    over = (
        batch.crop * (0.25 + 0.75 * alpha)
        + (batch.hull * (1 - alpha)) * batch.crop.new_tensor([0.6, 0, 0])[:, None, None]
    )
    cells = [c.expand(-1, 3, -1, -1) for c in (batch.crop, truth, over)]
    strip = torch.cat(cells, 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    rows = [np.hstack(list(strip[k : k + 12])) for k in range(0, count, 12)]
    return (np.vstack(rows)[..., ::-1] * 255).astype(np.uint8)


def onnx_matte(path: Path) -> Matte:
    """The exported file as a function of tensors."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(np.asarray(session.run(["alpha"], {"crop": x.cpu().numpy()})[0]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--count", type=int, default=240)
    args = parser.parse_args()
    bank = bank_module.load(args.pack, "test", 120, 1, 2, torch.device("cpu"))
    print(f"{'kind':<9}{'IoU':>8}{'hull':>8}{'hidden':>8}{'eaten':>8}")
    for kind, score in evaluate(onnx_matte(args.model), bank, args.count, seed=7).items():
        print(f"{kind:<9}" + "".join(f"{v:8.3f}" for v in score.values()))


if __name__ == "__main__":
    main()

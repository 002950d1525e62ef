"""What a trained fusion network does, to be looked at: the attention sheet with its numbers, and pictures for the blind sheets.

    python training/fusion/show.py --pack .work/refine_data/fusion.npz --net OUT/fusion.pt --out SHOWN
    python training/ablation/blind.py make --old SHOWN/keys --new SHOWN/fusion --truth SHOWN/truth --out BLIND

Writes SHOWN/attention.png, SHOWN/attention.json (prints it), SHOWN/sheet.png, and, of people never trained on, SHOWN/{keys,fusion,truth}/NAME.png: skin in UV,
the tone band of all three the truth's. They show people of the test clips: they stay out of the repository.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from evaluate import attention, attention_sheet, keys_only, network, sheet, shown_trials
from model import FusionNet
from pack import EPS, Pack, toned

PER_CLIP = 4
LARGER = 3


@torch.no_grad()
def pictures(model: FusionNet, pack: Pack, out: Path, split: str = "test") -> int:
    """PER_CLIP moments of every clip, three pictures each; returns how many moments."""
    model.eval()
    targets, b = pack.trials(split, PER_CLIP)[0], shown_trials(pack, split, PER_CLIP)
    shown = {"keys": keys_only(b), "fusion": network(model)(b), "truth": b.target}
    for name, skin in shown.items():
        (out / name).mkdir(parents=True, exist_ok=True)
        skin = (toned(skin, b.target, b.weight).exp() - EPS).clamp(0, 1) * pack.covered
        for k, picture in enumerate((skin * 255).byte().permute(0, 2, 3, 1).cpu().numpy()):
            large = cv2.resize(picture[..., ::-1], None, fx=LARGER, fy=LARGER, interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(
                str(
                    out
                    / name
                    / f"{pack.clips[int(pack.clip[targets[k]])].split('.')[0]}-{int(pack.number[targets[k]]):04d}.png"
                ),
                large,
            )
    return len(targets)


def main() -> None:
    """Everything at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--net", type=Path, required=True, help="fusion.pt")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(2)
    args.out.mkdir(parents=True, exist_ok=True)
    pack, model = Pack(args.pack, torch.device("cpu"), 1), FusionNet()
    model.load_state_dict(torch.load(args.net, weights_only=True))
    found = attention(model, pack)
    (args.out / "attention.json").write_text(json.dumps(found, indent=1))
    for layer, value in found.items():
        print(layer, {r: {k: round(v, 3) for k, v in n.items()} for r, n in value.items()}, flush=True)
    write = lambda name, picture: cv2.imwrite(str(args.out / name), np.ascontiguousarray(picture))  # noqa: E731
    write("attention.png", attention_sheet(model, pack))
    write("sheet.png", sheet(model, pack, "test"))
    print(f"{pictures(model, pack, args.out)} moments in {args.out}")


if __name__ == "__main__":
    main()

"""RAFT's published weights to the ONNX file that `digidouble perform --flow` opens.

    python training/flow/export.py -o raft-large.onnx [--weights FILE.pth] [--updates 12]

Needs torch (pip install 'digidouble[neural]'). Without --weights the file is fetched by name, checked against its sha256.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from model import LARGE, Raft, Widths

from digidouble import weights

NAME = "raft-large"


def loaded(path: Path, widths: Widths = LARGE, updates: int = 12) -> Raft:
    """The network with published weights; every name and shape must fit.

    Raises:
        RuntimeError: it is another network (torch's message lists what differs). pickle.UnpicklingError: more than weights.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    model = Raft(widths, updates)
    model.load_state_dict(state, strict=True)
    return model.eval()


def export(model: Raft, path: Path, size_hw: tuple[int, int] | None = None) -> None:
    """Inputs `first` and `second` [n, 3, h, w] in 0..1, output `flow` [n, 2, h, w] in pixels.

    n, h and w (multiples of 8, at least 128) are free unless `size_hw` fixes h and w.
    """
    h, w = size_hw or (136, 144)
    example = torch.rand(1, 3, h, w), torch.rand(1, 3, h, w)
    free = {0: "n"} if size_hw else {0: "n", 2: "h", 3: "w"}
    torch.onnx.export(
        model.cpu().eval(), example, str(path), input_names=["first", "second"], output_names=["flow"],
        dynamic_axes=dict.fromkeys(("first", "second", "flow"), free), opset_version=17, dynamo=False,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="the .pth file, if it is not to be fetched")
    parser.add_argument("--updates", type=int, default=12, help="fewer are faster and coarser")
    args = parser.parse_args()
    source = args.weights or weights.fetch(NAME, progress=print)
    export(loaded(source, LARGE, args.updates), args.out)
    print(
        f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB; use it with: digidouble perform --modalities --flow {args.out}"
    )


if __name__ == "__main__":
    main()

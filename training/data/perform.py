"""Analyse the training clips with the product's own tracker: one `.perf` a clip, skipped when it is there already.

python training/data/perform.py --clips /work/shared/data/clips --out PERFS [--reuse OTHER_PERFS]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from people import CLIPS

from digidouble.footage import open_footage
from digidouble.performance import analyse, load_performance


def main() -> None:
    """Clip after clip; a clip that fails is named and left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reuse", type=Path, help="a folder of performances made earlier")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for clip in CLIPS:
        out = args.out / f"{Path(clip.file).stem}.perf"
        old = args.reuse / out.name if args.reuse else None
        if out.exists():
            continue
        if old is not None and old.exists():
            out.symlink_to(old)
        else:
            began = time.perf_counter()
            with open_footage(args.clips / clip.file) as footage:
                analyse(footage, out)
            print(f"{clip.file} {time.perf_counter() - began:.0f} s", flush=True)
        load_performance(out)


if __name__ == "__main__":
    main()

"""Blind A/B sheets: which of two renderings of the same moment looks worse, judged before anybody knows which is which.

    python training/ablation/blind.py make --old WORK/frames/keysonly --new WORK/frames/+fusion --out BLIND     # [--truth DIR] [--seed 1] [--height 300]
    ... look at BLIND/sheet_*.png, write BLIND/answers.csv: pair,worse,why (worse: L, R or =; why: empty when it cannot be said)
    python training/ablation/blind.py score --out BLIND                                                         # opens the key

Pictures with equal names in the two folders are a pair; order and sides are shuffled, the sheets bear numbers only, and what lies on which side is in
BLIND/key.json alone. With `--truth` the picture of that name stands in the middle. The sheets show people of the test clips: they stay out of
the repository.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

LEAST_PAIRS = 20
SHEET_PX = 2400
HEIGHT = 300
"""Of a picture on a sheet, pixels, unless asked for otherwise; fine detail wants the pictures' own."""
STRIP = 56  # for the pair's number
KEY, ANSWERS = "key.json", "answers.csv"


@dataclass(frozen=True)
class Counts:
    """`new_worse`: pairs in which the new one was called worse; `unexplained`: those of them nobody could say why of; both over `pairs`."""

    pairs: int
    new_worse: int
    unexplained: int
    old_worse: int
    equal: int

    @property
    def chance(self) -> float:
        """How often a coin would split the decided pairs at least as unevenly."""
        n, k = self.new_worse + self.old_worse, max(self.new_worse, self.old_worse)
        return min(1.0, 2 * sum(math.comb(n, i) for i in range(k, n + 1)) / 2**n)


def fitted(picture: np.ndarray, height: int) -> np.ndarray:
    """Brought to the sheet's height; enlarged smoothly, so that neither side is favoured by a filter."""
    scale = height / len(picture)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(picture, (max(1, round(picture.shape[1] * scale)), height), interpolation=how)


def row(number: int, pictures: list[np.ndarray], height: int) -> np.ndarray:
    """One pair with its number."""
    strip = np.full((height, STRIP, 3), 30, np.uint8)
    cv2.putText(strip, f"{number:02d}", (6, height // 2), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 2)
    gap = np.full((height, 6, 3), 255, np.uint8)
    return np.concatenate([strip, *(x for p in pictures for x in (fitted(p, height), gap))], 1)


def make(old: Path, new: Path, out: Path, seed: int = 1, truth: Path | None = None, height: int = HEIGHT) -> int:
    """Writes the sheets and the key; returns the number of pairs. Raises SystemExit where there are fewer than LEAST_PAIRS."""
    names = sorted({p.name for p in old.glob("*.png")} & {p.name for p in new.glob("*.png")})
    if len(names) < LEAST_PAIRS:
        raise SystemExit(f"{old} and {new} have {len(names)} pictures with equal names; {LEAST_PAIRS} are needed.")
    rng = np.random.default_rng(seed)
    names = [names[k] for k in rng.permutation(len(names))]
    swapped = rng.permutation(np.arange(len(names)) % 2).astype(bool)  # as often left as right
    out.mkdir(parents=True, exist_ok=True)
    for stale in out.glob("sheet_*.png"):
        stale.unlink()
    key, rows = [], []
    for k, (name, swap) in enumerate(zip(names, swapped, strict=True)):
        left, right = (cv2.imread(str(d / name)) for d in ((new, old) if swap else (old, new)))
        middle = [cv2.imread(str(truth / name))] if truth else []
        rows.append(row(k + 1, [left, *middle, right], height))
        key.append({"pair": k + 1, "picture": name, "left": "new" if swap else "old"})
    each = max(1, SHEET_PX // height)
    for s in range(0, len(rows), each):
        part = rows[s : s + each]
        wide = max(r.shape[1] for r in part)
        filled = [np.pad(r, ((0, 6), (0, wide - r.shape[1]), (0, 0)), constant_values=255) for r in part]
        cv2.imwrite(str(out / f"sheet_{s // each + 1}.png"), np.concatenate(filled))
    (out / KEY).write_text(json.dumps({"old": str(old), "new": str(new), "seed": seed, "pairs": key}, indent=1))
    return len(rows)


def score(out: Path) -> Counts:
    """The answers under the key. Raises SystemExit for pairs without an answer or answers that are none."""
    sides = {p["pair"]: p["left"] for p in json.loads((out / KEY).read_text())["pairs"]}
    with (out / ANSWERS).open(newline="") as file:
        given = {int(r["pair"]): (r["worse"].strip(), (r["why"] or "").strip()) for r in csv.DictReader(file)}
    if given.keys() != sides.keys() or any(worse not in ("L", "R", "=") for worse, _ in given.values()):
        raise SystemExit(f"{out / ANSWERS}: every one of the {len(sides)} pairs needs one answer, L, R or =.")
    found = {"new": [], "old": [], "=": []}
    for pair, (worse, why) in given.items():
        left = sides[pair]
        right = "old" if left == "new" else "new"
        found[{"L": left, "R": right, "=": "="}[worse]].append(why)
    return Counts(len(given), len(found["new"]), sum(not w for w in found["new"]), len(found["old"]), len(found["="]))


def main() -> None:
    """`make` or `score`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "score"))
    parser.add_argument("--old", type=Path)
    parser.add_argument("--new", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--height", type=int, default=HEIGHT, help="of a picture on the sheets, pixels")
    args = parser.parse_args()
    if args.what == "score":
        counts = score(args.out)
        print(counts, f"a coin: p = {counts.chance:.2f}")
    elif not (args.old and args.new):
        parser.error("make needs --old and --new")
    else:
        print(f"{make(args.old, args.new, args.out, args.seed, args.truth, args.height)} pairs in {args.out}")


if __name__ == "__main__":
    main()

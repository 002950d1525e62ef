"""Is the student as good as its teacher on people nobody trained on, and how much faster?

    python training/identity/evaluate.py --faces .work/identity_data/faces.npz --net OUT/identity.onnx

Retrieval: every person of the gallery is enrolled by one face drawn at random; each other face is given to the nearest. The gallery holds the
test people, and for `crowd` all other people as well (who can only draw an answer away). Faces are asked as they are, and degraded as in training.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from faces import Pack, Teacher, degraded, inside

from digidouble.perception.identity import IdentityEmbedder
from digidouble.perception.session import Session

DRAWS = 20


def prepared(crops: np.ndarray, seed: int | None) -> np.ndarray:
    """What is asked: [n, 112, 112, 3], degraded when a seed is given."""
    rng = np.random.default_rng(seed)
    return np.stack([inside(c) if seed is None else degraded(c, rng) for c in crops])


def vectors(embed: Teacher, crops: np.ndarray) -> np.ndarray:
    """Unit vectors, 16 at a time."""
    return np.concatenate([embed(crops[k : k + 16]) for k in range(0, len(crops), 16)])


def top1(
    enrol: np.ndarray, ask: np.ndarray, person: np.ndarray, crowd: np.ndarray, seed: int = 5
) -> tuple[float, float]:
    """(share of right answers, the same with the crowd in the gallery); every person counts once. `enrol`, `ask` [n, d], `crowd` [m, d]."""
    rng = np.random.default_rng(seed)
    names = [p for p in np.unique(person) if (person == p).sum() > 1]
    alone, among = [], []
    for _ in range(DRAWS):
        first = {p: int(rng.choice(np.flatnonzero(person == p))) for p in np.unique(person)}
        gallery, order = np.stack([enrol[i] for i in first.values()]), np.array(list(first))
        for p in names:
            rows = np.flatnonzero((person == p) & (np.arange(len(person)) != first[p]))
            like = ask[rows] @ gallery.T
            right = order[like.argmax(1)] == p
            alone.append(right.mean())
            among.append((right & (like.max(1) > (ask[rows] @ crowd.T).max(1))).mean() if len(crowd) else right.mean())
    return float(np.mean(alone)), float(np.mean(among))


def pairs(v: np.ndarray, person: np.ndarray) -> dict[str, float]:
    """Cosines of same and different people over all pairs, and where the errors meet."""
    i, j = np.triu_indices(len(v), 1)
    like, same = np.einsum("nd,nd->n", v[i], v[j]), person[i] == person[j]
    yes, no = np.sort(like[same]), np.sort(like[~same])
    cuts = np.linspace(-0.2, 0.9, 221)
    miss, wrong = np.searchsorted(yes, cuts) / len(yes), 1 - np.searchsorted(no, cuts) / len(no)
    k = int(np.abs(miss - wrong).argmin())
    return {
        "same_mean": float(yes.mean()), "same_p5": float(np.quantile(yes, 0.05)), "other_mean": float(no.mean()),
        "other_p95": float(np.quantile(no, 0.95)), "eer": float((miss[k] + wrong[k]) / 2), "eer_cosine": float(cuts[k]),
    }  # fmt: skip


def scores(embed: Teacher, test: Pack, rest: Pack) -> dict[str, float]:
    """Every number of one embedder."""
    clean, hard = vectors(embed, prepared(test.crops, None)), vectors(embed, prepared(test.crops, 7))
    firsts = np.unique(rest.person, return_index=True)[1]
    crowd = vectors(embed, prepared(rest.crops[firsts], None))
    out = dict(zip(("top1", "top1_crowd"), top1(clean, clean, test.person, crowd), strict=True))
    out |= dict(zip(("top1_degraded", "top1_degraded_crowd"), top1(clean, hard, test.person, crowd), strict=True))
    return out | pairs(clean, test.person)


def latency_ms(sessions: dict[str, Session], rounds: int = 60) -> dict[str, float]:
    """Fastest fifth of single faces on one thread, the embedders in turn so that other programs disturb them alike."""
    x = np.random.default_rng(0).uniform(0, 255, (1, 3, 112, 112)).astype(np.float32)
    took: dict[str, list[float]] = {k: [] for k in sessions}
    for _ in range(rounds):
        for name, session in sessions.items():
            began = time.perf_counter()
            session.run({"data": x})
            took[name].append(1000 * (time.perf_counter() - began))
    return {k: float(np.quantile(v, 0.2)) for k, v in took.items()}


def joined(a: Pack, b: Pack) -> Pack:
    """Both."""
    return Pack(*(np.concatenate([getattr(a, f), getattr(b, f)]) for f in Pack.__dataclass_fields__))


def main() -> None:
    """Print student and teacher beside each other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--net", type=Path, required=True)
    args = parser.parse_args()
    rest = joined(Pack.read(args.faces, "train"), Pack.read(args.faces, "val"))
    test = Pack.read(args.faces, "test")
    sessions = {"teacher": Session("sface"), "student": Session(args.net)}
    found = {k: scores(IdentityEmbedder(runner=s).embed_crops, test, rest) for k, s in sessions.items()}
    likeness = np.einsum(
        "nd,nd->n",
        *(vectors(IdentityEmbedder(runner=s).embed_crops, prepared(test.crops, None)) for s in sessions.values()),
    )
    speed = latency_ms(sessions)
    report = found | {
        "latency_ms": speed,
        "speedup": speed["teacher"] / speed["student"],
        "cosine_to_teacher": float(likeness.mean()),
    }
    print(
        f"{len(test)} faces of {len(np.unique(test.person))} test people; {len(np.unique(rest.person))} more in the crowd"
    )
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

"""What people's creases have in common: a linear, low-rank answer in closed form. The baseline that a network has to beat.

    python training/fusion/basis.py --pack .work/refine_data/fusion.npz --out OUT

Ridge regression over the training people, from the change of the mesh between key and moment (on 16 x 16 places of UV, its RANK
strongest principal components) to the flow that finds the key's skin in the frame (DIS, in UV) and then to the log gain that is left. Every
person weighs the root of his frames. The price on size is chosen by leaving one person out at a time; the gain is learnt on keys
moved by flows that were predicted without the person. It is asked as the network is (`model.py`) and looks at the mesh alone.
No random numbers. Writes basis.pt, prints the table of `evaluate.py`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from evaluate import evaluate, scores
from model import CM, SIZE, FusionNet, rendered
from pack import EPS, FLOW_TEXELS, GRID, Batch, Pack, slides, toned
from torch import Tensor, nn
from torch.nn import functional

PLACES = 16
RANK = 60
WHITENED = 0.5  # power of the components' spread that is divided out: 0 leaves them as they are, 1 makes them equal
OWN_PRICE = 30.0  # for one clip, whose frames are some thirty times fewer
PRICES = (100.0, 300.0, 1000.0, 3000.0, 10_000.0, 30_000.0)


def change(keys: Tensor, dynamic: Tensor) -> Tensor:
    """[n, 3, 16, 16]: how the mesh moved since the first key was taken, in units of CM."""
    return functional.avg_pool2d((dynamic[:, :3] - keys[:, 0, 4:]) / CM, SIZE // PLACES)


def grown(y: Tensor, channels: int) -> Tensor:
    """Maps of GRID texels, flattened, to 128."""
    return functional.interpolate(y.reshape(-1, channels, GRID, GRID), scale_factor=2.0, mode="bilinear")


def moved_by(skin: Tensor, flow: Tensor) -> Tensor:
    """Skin read where a flow of GRID texels, flattened, points."""
    zero = torch.zeros(1, 3, SIZE, SIZE)
    return rendered(skin, zero, grown(flow, 2), zero)


class BasisNet(nn.Module):
    """The linear answer: components of the change, times one map each. Bias is zero: it invents no teeth."""

    def __init__(self, components: Tensor, flow: Tensor, gain: Tensor) -> None:
        super().__init__()
        self.components: Tensor
        self.flow: Tensor
        self.gain: Tensor
        self.register_buffer("components", components)
        self.register_buffer("flow", flow)
        self.register_buffer("gain", gain)

    def forward(self, keys: Tensor, dynamic: Tensor, facts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """gain, flow, bias of `model.py`; `facts` are part of the contract and not looked at."""
        x = change(keys, dynamic).flatten(1) @ self.components + 0 * facts[:, :1].sum()
        flow = grown(x @ self.flow, 2).clamp(-FLOW_TEXELS, FLOW_TEXELS)
        return grown(x @ self.gain, 3).clamp(-1.2, 1.2), flow, 0 * keys[:, 0, :3]


@dataclass
class Material:
    """Rows of the regression, mirrored ones after the others. `person` and `weight` one a row; `change` [n, 3, 16, 16]."""

    change: Tensor
    person: np.ndarray
    weight: Tensor

    @classmethod
    def of(cls, moved: Tensor, person: np.ndarray) -> Material:
        """With its mirror image; weights of mean one."""
        count = np.bincount(np.unique(person, return_inverse=True)[1])
        weight = 1 / np.sqrt(count)[np.unique(person, return_inverse=True)[1]]
        weight = torch.from_numpy(np.r_[weight, weight] / weight.mean()).float()
        return cls(torch.cat([moved, mirrored(moved, (-1, 1, 1))]), np.r_[person, person], weight)


def mirrored(x: Tensor, signs: tuple[int, ...]) -> Tensor:
    """The other side of the face; a component that points sideways changes its sign."""
    return x.flip(-1) * torch.tensor(signs, dtype=x.dtype).view(1, -1, 1, 1)


def components_of(m: Material, rank: int = RANK) -> Tensor:
    """[768, rank]: principal components of the change, partly whitened, scaled to a mean square of one a component."""
    x = m.change.flatten(1)
    values, vectors = torch.linalg.eigh((x * m.weight[:, None]).T @ x / len(x))
    spread, kept = values.flip(0)[:rank].clamp(min=1e-9).sqrt(), vectors.flip(1)[:, :rank]
    out = kept / spread**WHITENED
    return out / (x @ out).square().mean().sqrt()


@dataclass
class Ridge:
    """Sums over each person, so that anybody can be left out: x'x [p, r, r], x'y [p, r, d], y'y [p]."""

    people: np.ndarray
    xx: Tensor
    xy: Tensor
    yy: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, m: Material) -> Ridge:
        """Weighted sums of rows x [n, r] and truths y [n, d]."""
        people = np.unique(m.person)
        xx, xy, yy = [], [], []
        for p in people:
            mine = torch.from_numpy(np.flatnonzero(m.person == p))
            a, b, w = x[mine], y[mine].float(), m.weight[mine, None]
            xx.append((a * w).T @ a)
            xy.append((a * w).T @ b)
            yy.append((b.square() * w).sum())
        return cls(people, torch.stack(xx), torch.stack(xy), torch.stack(yy))

    def solved(self, price: float, without: int | None = None) -> Tensor:
        """[r, d], without one person when asked."""
        out = 0 if without is None else self.xx[without], self.xy[without]
        xx = self.xx.sum(0) - (out[0] if without is not None else 0)
        xy = self.xy.sum(0) - (out[1] if without is not None else 0)
        return torch.linalg.solve(xx + price * torch.eye(len(xx)), xy)

    def explained(self, price: float) -> float:
        """Share of the variance of people left out that is predicted, 1 at most; below 0 it harms."""
        left = 0.0
        for p in range(len(self.people)):
            w = self.solved(price, p)
            left += float(self.yy[p] - 2 * (w * self.xy[p]).sum() + (w * (self.xx[p] @ w)).sum())
        return 1 - left / max(float(self.yy.sum()), 1e-12)

    def best(self, prices: tuple[float, ...] = PRICES) -> tuple[float, float]:
        """Price and explained share."""
        return max(((p, self.explained(p)) for p in prices), key=lambda found: found[1])


def flow_between(b: Batch) -> Tensor:
    """[n, 2, 64, 64] texels of the 128 grid: where in the first key the target's skin lies."""
    return slides(b.target, b.keys[:, 0, :3], b.weight)


def gain_between(b: Batch, moved: Tensor) -> Tensor:
    """[n, 3, 64, 64]: log colour that is missing on a key already moved, tone band out."""
    left = torch.log(b.target + EPS) - toned(moved, b.target, b.weight)
    return functional.avg_pool2d(left.clamp(-1.2, 1.2) * b.weight, SIZE // GRID)


def batches(rows: Tensor) -> list[Tensor]:
    """Rows in pieces."""
    return list(rows.split(48))


def composed(pack: Pack, rows: Tensor) -> Batch:
    """Targets with their clip's relaxed frame as the key; nothing of the plate's skin is told."""
    return pack.compose(rows, pack.neutral[rows][:, None])


@torch.no_grad()
def fit(pack: Pack, every: int = 2) -> tuple[BasisNet, dict[str, tuple[float, float]]]:
    """The basis of the training people, every `every`-th frame, and for flow and gain the price and the share explained of people left out."""
    rows = pack.split["train"][::every]
    person = pack.person[rows].numpy()
    seen = [(change(b.keys, b.dynamic), flow_between(b)) for b in (composed(pack, r) for r in batches(rows))]
    m = Material.of(torch.cat([c for c, _ in seen]), person)
    parts = components_of(m)
    x = m.change.flatten(1) @ parts
    flow = torch.cat([f for _, f in seen])
    flows = Ridge.of(x, torch.cat([flow, mirrored(flow, (-1, 1))]).flatten(1), m)
    price = {"flow": flows.best()}
    unseen = {p: flows.solved(price["flow"][0], k) for k, p in enumerate(flows.people)}
    gains = []
    for start, r in zip(range(0, len(rows), 48), batches(rows), strict=True):
        b = composed(pack, r)
        own = torch.stack([x[start + k] @ unseen[int(pack.person[i])] for k, i in enumerate(r)])
        gains.append(gain_between(b, moved_by(b.keys[:, 0, :3], own)))
    gain = torch.cat(gains)
    ridge = Ridge.of(x, torch.cat([gain, gain.flip(-1)]).flatten(1), m)
    price["gain"] = ridge.best()
    return BasisNet(parts, flows.solved(price["flow"][0]), ridge.solved(price["gain"][0])), price


@torch.no_grad()
def own_scores(
    pack: Pack, common: BasisNet, split: str, per_clip: int = 32, parts: int = 4
) -> dict[str, dict[str, float]]:
    """What the person's own other moments are worth: `basis`, the same regression on the clip itself, and `nearest`, the frame whose
    mesh is most alike; both from all but one of `parts` stretches of time, the one that is measured. They know the person: no
    method that sees one photograph can be compared with them."""
    targets = pack.trials(split, per_clip)[0]
    found: dict[str, dict[str, list[float]]] = {}
    for c in pack.clip[targets].unique():
        rows = pack.split[split][pack.clip[pack.split[split]] == c]
        rows = rows[pack.number[rows].argsort()]
        b = composed(pack, rows)
        x, flow = change(b.keys, b.dynamic).flatten(1) @ common.components, flow_between(b)
        rest = (torch.arange(len(rows)) * parts) // len(rows)
        predicted = [torch.zeros_like(flow).flatten(1), torch.zeros(len(rows), 3 * GRID * GRID)]
        nearest = torch.zeros(len(rows), dtype=torch.long)
        for k in range(parts):
            learn, asked = rest != k, rest == k
            solved = lambda y, a=x[learn]: torch.linalg.solve(a.T @ a + OWN_PRICE * torch.eye(a.shape[1]), a.T @ y)  # noqa: E731
            w = solved(flow[learn].flatten(1))
            known = b.at(learn)
            gain = gain_between(known, moved_by(known.keys[:, 0, :3], x[learn] @ w))
            nearest[asked] = torch.cdist(x[asked], x).masked_fill(~learn[None], torch.inf).argmin(1)
            predicted[0][asked], predicted[1][asked] = x[asked] @ w, x[asked] @ solved(gain.flatten(1))
        where = (rows[None] == targets[pack.clip[targets] == c, None]).int().argmax(1)
        skin = moved_by(b.keys[where, 0, :3], predicted[0][where]) * torch.exp(grown(predicted[1][where], 3))
        asked = b.at(where)
        for method, picture in (("basis", skin), ("nearest", b.target[nearest[where]])):
            for name, value in scores(asked, picture, pack.opening).items():
                found.setdefault(method, {}).setdefault(name, []).append(float(value.mean()))
    return {m: {k: float(np.mean(v)) for k, v in value.items()} for m, value in found.items()}


def main() -> None:
    """Fit, measure, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--splits", nargs="+", default=["val"], choices=("val", "test"))
    args = parser.parse_args()
    torch.set_num_threads(2)
    args.out.mkdir(parents=True, exist_ok=True)
    pack = Pack(args.pack, torch.device("cpu"), 1)
    kept = args.out / "basis.pt"
    if kept.exists():
        net = BasisNet(**torch.load(kept, weights_only=True))
    else:
        net, price = fit(pack)
        print({k: {"price": p, "explained": round(e, 4)} for k, (p, e) in price.items()}, flush=True)
        torch.save(net.state_dict(), kept)
    nothing = lambda x: torch.zeros_like(x)  # noqa: E731
    nets: dict[str, nn.Module] = {
        "basis": net,
        "basis, flow alone": BasisNet(net.components, net.flow, nothing(net.gain)),
        "basis, gain alone": BasisNet(net.components, nothing(net.flow), net.gain),
    }
    for split in args.splits:
        found = evaluate(FusionNet(), pack, split, 32, only=("keys",))
        for name, part in nets.items():
            for clip, value in evaluate(part, pack, split, 32, only=("fusion_geometry",)).items():
                found[clip][name] = value["fusion_geometry"]
        found["all"] |= {f"(own other moments, {k})": v for k, v in own_scores(pack, net, split).items()}
        (args.out / f"basis_{split}.json").write_text(json.dumps(found, indent=1))
        for name, value in found["all"].items():
            print(split, name, {k: round(v, 4) for k, v in value.items()}, flush=True)


if __name__ == "__main__":
    main()

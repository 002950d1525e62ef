"""Fusion against what needs no network, on people that were never trained on; one relaxed key, as from one source photograph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from model import FusionNet, rendered
from pack import EPS, Batch, Pack, Plate, blurred, toned
from torch import Tensor, nn
from torch.nn import functional

STAND_IN_SEED = 5
Method = Callable[[Batch], Tensor]
"""A batch to display-referred skin [n, 3, 128, 128]; the tone band is set to the truth's afterwards, for every method alike."""


def keys_only(b: Batch) -> Tensor:
    """The key as it is."""
    return b.keys[:, 0, :3]


def soft_key(b: Batch) -> Tensor:
    """The key blurred: how much of a gain in PSNR is nothing but missing detail."""
    return torch.exp(blurred(torch.log(b.keys[:, 0, :3] + EPS), 1.2)) - EPS


def expression_ratio(b: Batch) -> Tensor:
    """The key times the plate's band-limited expression ratio."""
    return b.keys[:, 0, :3] * torch.exp(b.dynamic[:, 6:7])


def slide_alone(b: Batch) -> Tensor:
    """The key moved as the plate's skin moved: no network."""
    zero = b.keys[:, 0, :3] * 0
    return rendered(b.keys[:, 0, :3], zero, b.dynamic[:, 7:9], zero)


def slide_and_ratio(b: Batch) -> Tensor:
    """Both of what the plate's skin tells, no network."""
    return slide_alone(b) * torch.exp(b.dynamic[:, 6:7])


def network(model: nn.Module) -> Method:
    """The network's answer."""
    return lambda b: rendered(b.keys[:, 0, :3], *model(b.keys, b.dynamic, b.facts)[:3])


def scores(b: Batch, prediction: Tensor, opening: Tensor) -> dict[str, Tensor]:
    """Per sample: PSNR of skin (openings excluded: the renderer shows the plate there), PSNR with openings, gradient error
    (mean absolute, log colour, per texel), and sharpness (band energy above half of Nyquist over the truth's)."""
    log, truth = toned(prediction, b.target, b.weight), torch.log(b.target + EPS)
    skin = b.weight * (b.weight > 0.4) * (1 - opening)
    error = ((log.exp() - b.target) ** 2).mean(1, keepdim=True)
    psnr = lambda w: -10 * torch.log10((error * w).sum((1, 2, 3)) / w.sum((1, 2, 3)) + 1e-7)  # noqa: E731
    step = lambda x, d: x.diff(dim=d)  # noqa: E731
    wx, wy = (torch.minimum(skin[..., 1:], skin[..., :-1]), torch.minimum(skin[..., 1:, :], skin[..., :-1, :]))
    slope = sum(
        ((step(log, d) - step(truth, d)).abs().mean(1, keepdim=True) * w).sum((1, 2, 3)) / w.sum((1, 2, 3))
        for d, w in ((-1, wx), (-2, wy))
    )
    fine = lambda x: (((x - blurred(x, 1.0)) ** 2).mean(1, keepdim=True) * skin).sum((1, 2, 3))  # noqa: E731
    return {"psnr": psnr(skin), "psnr_open": psnr(b.weight * (b.weight > 0.4)), "gradient": slope, "sharpness": fine(log) / (fine(truth) + 1e-9)}  # fmt: skip


def methods(model: nn.Module) -> dict[str, tuple[Method, Plate, Plate]]:
    """name -> (method, where the plate's ratio comes from, where its slide comes from)."""
    net = network(model)

    def without(what: str) -> Method:
        def run(b: Batch) -> Tensor:
            setattr(model, what, True)
            try:
                return net(b)
            finally:
                setattr(model, what, False)

        return run

    return {
        "keys": (keys_only, "none", "none"),
        "soft_key": (soft_key, "none", "none"),
        "ratio": (expression_ratio, "other", "none"),
        "ratio_stand_in": (expression_ratio, "stand-in", "none"),
        "ratio_own": (expression_ratio, "own", "none"),
        "slide": (slide_alone, "none", "stand-in"),
        "slide_own": (slide_alone, "none", "own"),
        "slide_ratio": (slide_and_ratio, "stand-in", "stand-in"),
        "slide_ratio_own": (slide_and_ratio, "own", "own"),
        "fusion": (net, "other", "stand-in"),
        "fusion_slide_own": (net, "other", "own"),
        "fusion_slide_alone": (net, "none", "stand-in"),
        "fusion_stand_in": (net, "stand-in", "stand-in"),
        "fusion_own": (net, "own", "own"),
        "fusion_geometry": (net, "none", "none"),
        "no_identity": (without("drop_identity"), "stand-in", "stand-in"),
        "no_dynamic": (without("drop_dynamic"), "stand-in", "stand-in"),
        "no_patches": (without("drop_tokens"), "stand-in", "stand-in"),
    }


@contextmanager
def same_stand_ins(pack: Pack) -> Iterator[None]:
    """What is drawn in here is always the same, and what is drawn afterwards does not know of it."""
    drawn = pack.rng.get_state()
    pack.rng.manual_seed(STAND_IN_SEED)
    try:
        yield
    finally:
        pack.rng.set_state(drawn)


@torch.no_grad()
def evaluate(
    model: nn.Module, pack: Pack, split: str, per_clip: int, keys: int = 1, only: tuple[str, ...] = ()
) -> dict[str, dict[str, dict[str, float]]]:
    """clip (and "all": mean over clips) -> method -> score."""
    model.eval()
    targets, chosen = pack.trials(split, per_clip, keys)
    out: dict[str, dict[str, dict[str, float]]] = {}
    for name, (method, ratio, slide) in methods(model).items():
        if only and name not in only:
            continue
        rows: dict[str, list[Tensor]] = {}
        with same_stand_ins(pack):  # for every method
            for t, c in zip(targets.split(64), chosen.split(64), strict=True):
                b = pack.compose(t, c, pack.plate(t, ratio, slide))
                for key, value in scores(b, method(b), pack.opening).items():
                    rows.setdefault(key, []).append(value)
        values = {k: torch.cat(v).float().cpu().numpy() for k, v in rows.items()}
        clip = pack.clip[targets].cpu().numpy()
        for c in np.unique(clip):
            out.setdefault(pack.clips[c], {})[name] = {k: float(v[clip == c].mean()) for k, v in values.items()}
        out.setdefault("all", {})[name] = {
            k: float(np.mean([out[pack.clips[c]][name][k] for c in np.unique(clip)])) for k in values
        }
    model.train()
    return out


@torch.no_grad()
def beside(model: nn.Module, pack: Pack, split: str, per_clip: int) -> dict[str, float]:
    """The other two answers: mean error of the displacement in cm over the 16 x 16 places, of a stand-in's (`before`) and with the
    offset (`offset_cm`); mean error of visibility, of the training rows' mean (`seen_mean`) and of the network (`seen`)."""
    model.eval()
    targets, chosen = pack.trials(split, per_clip)
    train = pack.split["train"]
    usual = torch.cat([functional.avg_pool2d(pack.visible(r), 2) for r in train.split(64)]).mean(0)
    rows: dict[str, list[Tensor]] = {}
    with same_stand_ins(pack):
        for t, c in zip(targets.split(64), chosen.split(64), strict=True):
            true = pack.over_uv(pack.shift[t].float())
            b = pack.compose(t, c, pack.plate(t, "other", "stand-in"), pack.otherwise(true))
            offset, visible = model(b.keys, b.dynamic, b.facts)[3:]
            place, face = functional.avg_pool2d(pack.covered, 8) > 0.5, functional.avg_pool2d(pack.covered, 2) > 0.5
            seen = functional.avg_pool2d(b.visible, 2)
            moved = b.dynamic[:, :3] + functional.interpolate(offset, scale_factor=8.0, mode="nearest")
            away = [functional.avg_pool2d(x - b.shift, 8).norm(dim=1, keepdim=True) for x in (b.dynamic[:, :3], moved)]
            missed = [(x - seen).abs() for x in (usual.expand_as(seen), visible)]
            mean = lambda x, where: (x * where).sum((1, 2, 3)) / where.sum()  # noqa: E731
            found = {
                **{k: mean(x, place) for k, x in zip(("before_cm", "offset_cm"), away, strict=True)},
                **{k: mean(x, face) for k, x in zip(("seen_mean", "seen"), missed, strict=True)},
            }
            for key, value in found.items():
                rows.setdefault(key, []).append(value)
    model.train()
    return {k: float(torch.cat(v).mean()) for k, v in rows.items()}


def shown_trials(pack: Pack, split: str, per_clip: int) -> Batch:
    """Trials with the ratio of another person and the slide of a stand-in, always the same ones."""
    targets, chosen = pack.trials(split, per_clip)
    with same_stand_ins(pack):
        return pack.compose(targets, chosen, pack.plate(targets, "other", "stand-in"))


@torch.no_grad()
def sheet(model: FusionNet, pack: Pack, split: str, per_clip: int = 2) -> np.ndarray:
    """Rows: key, key toned, key slid like the stand-in plate, fusion, truth, gain; one column a trial. BGR."""
    model.eval()
    b = shown_trials(pack, split, per_clip)
    gain, flow, bias = model(b.keys, b.dynamic, b.facts)[:3]
    tone = lambda x: (toned(x, b.target, b.weight).exp() - EPS).clamp(0, 1)  # noqa: E731
    look = [
        b.keys[:, 0, :3],
        tone(keys_only(b)),
        tone(slide_alone(b)),
        tone(rendered(b.keys[:, 0, :3], gain, flow, bias)),
        b.target,
        0.5 + gain,
    ]
    shown = torch.stack([x * pack.covered for x in look]).float()
    picture = shown.permute(0, 3, 1, 4, 2).reshape(len(look) * 128, -1, 3)
    model.train()
    return (picture.clamp(0, 1) * 255).cpu().numpy().astype(np.uint8)[..., ::-1].copy()


REGIONS = ("mouth", "eyes", "rest")


def regions(pack: Pack) -> Tensor:
    """[256] index into REGIONS of every patch of the 16 x 16 grid on the face, -1 off it: mouth and eyes are the patches that
    hold a tenth of an opening, and their neighbours; eyes lie in the upper half."""
    near = functional.max_pool2d((functional.avg_pool2d(pack.opening, 8) > 0.1).float(), 3, 1, 1)[0, 0] > 0
    upper = torch.arange(16, device=near.device)[:, None].expand(16, 16) < 8
    out = torch.where(near, torch.where(upper, 1, 0), 2)
    return torch.where(functional.avg_pool2d(pack.covered, 8)[0, 0] > 0.5, out, -1).flatten()


def region_mass(seen: Tensor, place: Tensor) -> dict[str, dict[str, float]]:
    """region -> `mass`: the share of its queries' attention that lies on keys of the same region; `uniform`: the region's share
    of all keys, which is what attention that does not care would give; `others`: the share that queries from elsewhere on the
    face give it. `seen` [.., 256, 256] sums to one over keys."""
    mean = seen.reshape(-1, 256, 256).mean(0)
    out = {}
    for k, name in enumerate(REGIONS):
        inside, elsewhere = place == k, (place >= 0) & (place != k)
        on = mean[:, inside].sum(1)
        out[name] = {"mass": float(on[inside].mean()), "others": float(on[elsewhere].mean()), "uniform": float(inside.float().mean())}  # fmt: skip
    return out


@torch.no_grad()
def attention(
    model: FusionNet, pack: Pack, split: str = "test", per_clip: int = 8
) -> dict[str, dict[str, dict[str, float]]]:
    """layer ("all": their mean) and the head that is best at it ("best head" of all layers) -> region -> `region_mass`; one key."""
    model.eval()
    b = shown_trials(pack, split, per_clip)
    maps: list[Tensor] = []
    model(b.keys, b.dynamic, b.facts, maps)
    model.train()
    place = regions(pack)
    found = {f"layer {k + 1}": region_mass(m, place) for k, m in enumerate(maps)}
    found["all"] = region_mass(torch.stack(maps), place)
    heads = [region_mass(m[:, h], place) for m in maps for h in range(m.shape[1])]
    lift = lambda f: f["mouth"]["mass"] - f["mouth"]["others"]  # noqa: E731
    found["best head"] = max(heads, key=lift)
    return found


@torch.no_grad()
def attention_sheet(model: FusionNet, pack: Pack, split: str = "test") -> np.ndarray:
    """Where dynamic queries (left mouth corner, brow, cheek, chin: marked) look among the key's patches; mean of layers and heads. BGR."""
    model.eval()
    b = shown_trials(pack, split, 1)
    maps: list[Tensor] = []
    model(b.keys, b.dynamic, b.facts, maps)
    seen = torch.stack(maps).mean((0, 2)).reshape(len(b.target), 16, 16, 16, 16)
    columns = []
    for row, column in ((11, 6), (4, 8), (9, 4), (14, 8)):
        heat = seen[:, row, column]
        heat = (heat / heat.amax((1, 2), keepdim=True)).repeat_interleave(8, 1).repeat_interleave(8, 2)
        picture = b.keys[:, 0, :3] * (0.25 + 0.75 * heat[:, None])
        picture[:, :, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = torch.tensor([0.1, 0.9, 0.2], device=picture.device)[:, None, None]  # fmt: skip
        columns.append(picture)
    model.train()
    shown = torch.stack(columns).permute(0, 3, 1, 4, 2).reshape(4 * 128, -1, 3)
    return (shown.clamp(0, 1) * 255).cpu().numpy().astype(np.uint8)[..., ::-1].copy()

"""Does the double move as the plate does, for the product's own tracker? Every clip, tracked anew on the output.

**This is no independent judge.** The tracker that measures is the one that drove the double: what it does not see on the plate
it does not miss on the output either, and a systematic error of its own cancels. It says whether the renderer shows what the
performance asks for; whether the performance was right, `expression` says, with another network. What speaks for it: its
meshes hold lids, brows and smiles far finer than 68 points do, and so the row `plate`, which is what a perfect double would
score (the plate through JPEG 85 and moved by one pixel, tracked anew), leaves more room to see an error in.

The output is rendered without encoder and label and analysed as it is rendered: it is never written. One persona stands in for
everybody, the first of the run; the next one where that would be the plate's own clip.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from digidouble.bench.observe import remeasured
from digidouble.bench.protocol import Measured, Protocol, Record, Scope
from digidouble.bench.protocols.measures import correlation
from digidouble.bench.workshop import Workshop, cast_at, quality_of
from digidouble.errors import NoFace
from digidouble.footage import Footage, open_footage
from digidouble.performance import analyse, load_performance
from digidouble.performance.store import PerfStore
from digidouble.pipeline import render_frame
from digidouble.schema.colour import rgb8_from_frame
from digidouble.schema.frame import ColourTags, Frame, PixelLayout
from digidouble.schema.performance import Performance
from digidouble.schema.time import FrameRange
from digidouble.schema.track import FaceTrack

CHANNELS = ("mouth", "width", "smile", "brow_right", "brow_left", "lid_right", "lid_left")
MOVES_CM = np.array([0.08, 0.08, 0.06, 0.06, 0.06, 0.04, 0.04])
"""Standard deviation from which a channel counts as moving."""
REACHES = np.array([0.95, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9])
"""The r that counts as followed."""
SHOWN = 0.9  # frames where either track shows less of a double are left out
LEAST_FRAMES = 20
MAX_LAG = 3
QUICK_CLIPS = 3
SRGB = PixelLayout("rgb24", "rgb", 8), ColourTags(1, 13, 0, True)


def head_channels(head_cm: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, "n 7"]:
    """Openings and lifts in cm, in the order of CHANNELS, from meshes in the head's own axes (y up): pose is no part of them."""
    p, y = head_cm, head_cm[..., 1]

    def apart(a: int, b: int) -> Float[np.ndarray, "n"]:
        return np.linalg.norm(p[:, a] - p[:, b], axis=1)

    return np.stack(
        [
            apart(13, 14),
            apart(61, 291),
            y[:, [61, 291]].mean(1) - y[:, 1],
            y[:, [70, 63, 105, 66, 107]].mean(1) - y[:, [33, 133]].mean(1),
            y[:, [300, 293, 334, 296, 336]].mean(1) - y[:, [263, 362]].mean(1),
            y[:, 159] - y[:, 145],
            y[:, 386] - y[:, 374],
        ],
        axis=1,
    )


def follows(
    plate: Float[np.ndarray, "n 7"], out: Float[np.ndarray, "n 7"], use: Bool[np.ndarray, "7"]
) -> dict[str, float]:
    """How the output follows the plate in the channels `use`; rows are the frames in which both are seen, in order.

    `followed` of `channels` reach their r; `share` is their ratio. `amplitude` is deviation over the plate's. `r` and
    `amplitude` are means over channels, `r_brows` and `r_lids` over both sides. `lag`: whole frames by which the output is late, at most MAX_LAG either way.
    An output that was not found again (fewer than LEAST_FRAMES rows) follows nothing.
    """
    at = np.flatnonzero(use)
    if not len(at):
        return {"channels": 0.0, "followed": 0.0}
    lost = len(plate) < LEAST_FRAMES
    r = np.array([0.0 if lost else correlation(plate[:, i], out[:, i]) for i in at])
    amplitude = np.zeros(len(at)) if lost else out[:, at].std(0) / np.maximum(plate[:, at].std(0), 1e-9)
    followed = float((r >= REACHES[at]).sum())
    numbers = {"channels": float(len(at)), "followed": followed, "share": followed / len(at)}
    numbers |= {"r": float(r.mean()), "amplitude": float(amplitude.mean())}
    numbers |= {"lag": float("nan") if lost else float(_lag(plate[:, at], out[:, at]))}
    for i, its_r, its_amplitude in zip(at, r, amplitude, strict=True):
        numbers |= {f"r_{CHANNELS[i]}": float(its_r), f"amplitude_{CHANNELS[i]}": float(its_amplitude)}
    for pair in ("brow", "lid"):
        sides = [numbers[f"r_{pair}_{side}"] for side in ("right", "left") if f"r_{pair}_{side}" in numbers]
        numbers |= {f"r_{pair}s": float(np.mean(sides))} if sides else {}
    return numbers


def _lag(plate: Float[np.ndarray, "n c"], out: Float[np.ndarray, "n c"]) -> int:
    """Peak of the summed cross-correlation."""
    n = len(plate)

    def agreement(k: int) -> float:
        a, b = plate[max(0, -k) : n - max(0, k)], out[max(0, k) : n - max(0, -k)]
        return sum(correlation(a[:, c], b[:, c]) for c in range(a.shape[1]))

    return max(range(-MAX_LAG, MAX_LAG + 1), key=lambda k: (agreement(k), -abs(k)))


class Altered(Footage):
    """Footage whose frames are changed as they are read: what is rendered is analysed without being written."""

    def __init__(self, plate: Footage, change: Callable[[Frame], Frame], coded: tuple[PixelLayout, ColourTags]) -> None:
        self._plate, self._change = plate, change
        self.shot = replace(plate.shot, layout=coded[0], colour=coded[1])

    def _stream(self, frame_range: FrameRange) -> Iterator[Frame]:
        return map(self._change, self._plate.frames(frame_range))

    def _seek(self, index: int) -> Frame:
        return self._change(self._plate.frame(index))


def moved(rgb8: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Through JPEG at quality 85 and one pixel to the right."""
    again = remeasured(rgb8)
    return np.concatenate([again[:, :1], again[:, :-1]], axis=1)


def _moved_frame(frame: Frame) -> Frame:
    return Frame(frame.index, frame.pts_seconds, (moved(rgb8_from_frame(frame)),), *SRGB)


def shown_frames(track: FaceTrack) -> Int[np.ndarray, "n"]:
    """Frames that are measured, as far as this track goes."""
    return track.frames.start + np.flatnonzero(track.presence > SHOWN)


def same_face(track: FaceTrack, among: Performance) -> FaceTrack | None:
    """The track that lies where this one does, in the most frames: another analysis may number faces otherwise."""
    mine = shown_frames(track)
    found: dict[int, int] = {}
    for other in among.tracks:
        both = np.intersect1d(mine, shown_frames(other))
        for i in both[:: max(1, len(both) // 8)]:
            a, b = track.sample(int(i)).points_px[:, :2], other.sample(int(i)).points_px[:, :2]
            if np.linalg.norm(a.mean(0) - b.mean(0)) < 0.5 * np.ptp(a[:, 0]):
                found[other.track_id] = len(both)
    return among.track(str(max(found, key=lambda k: found[k]))) if found else None


def channels_of(track: FaceTrack, frames: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n 7"]:
    """`head_channels` of a track in some frames."""
    heads = [track.pose(int(i)).head_from_px(track.sample(int(i)).points_px) for i in frames]
    return head_channels(np.array(heads).reshape(-1, 478, 3))


def compare_tracks(track: FaceTrack, output: Performance) -> dict[str, float]:
    """`follows` of the face of a plate in an analysis of the output."""
    mine = shown_frames(track)
    plate = channels_of(track, mine)
    use = plate.std(0) > MOVES_CM
    other = same_face(track, output)
    both = np.intersect1d(mine, shown_frames(other)) if other else mine[:0]
    out = channels_of(other, both) if other else plate[:0]
    return follows(plate[np.isin(mine, both)], out, use) | {"frames": float(len(both))}


def stand_in(scope: Scope, clip: str) -> str:
    """The first persona of the run that is not this clip."""
    everybody = [p.persona for p in scope.pairs] + [p.plate for p in scope.pairs]
    return next(n for n in everybody if n != clip)


def _items(shop: Workshop, scope: Scope) -> list[str]:
    """Every clip, those of the pairs first."""
    names = list(dict.fromkeys([*(p.plate for p in scope.pairs), *sorted(shop.clips)]))
    return names[:QUICK_CLIPS] if scope.quick else names


def _anew(shop: Workshop, footage: Footage, track: FaceTrack) -> dict[str, float]:
    """Analyse footage and compare."""
    with tempfile.TemporaryDirectory(dir=shop.scratch) as folder:
        performance = load_performance(analyse(footage, Path(folder) / "output.perf"))
        stores = {id(t.store): t.store for t in performance.tracks if isinstance(t.store, PerfStore)}
        try:
            return compare_tracks(track, performance)
        finally:
            for store in stores.values():
                store.close()


def _measure(shop: Workshop, scope: Scope, item: str) -> Measured:
    movie = shop.plate(item)
    performance = shop.performance(movie)
    if not performance.tracks or len(shown_frames(performance.track("main"))) < LEAST_FRAMES:
        raise NoFace(f"{item}: the product shows no double in {LEAST_FRAMES} frames, so there is nothing to follow")
    track = performance.track("main")
    records = []
    for row in ("plate", *(r for r in scope.rows if quality_of(r))):
        with open_footage(movie) as plate:
            if quality := quality_of(row):
                casts = cast_at(quality, performance, shop.persona(stand_in(scope, item)))
                change, coded = (lambda f, c=casts: render_frame(c, f)[0]), (plate.shot.layout, plate.shot.colour)
            else:
                change, coded = _moved_frame, SRGB
            records.append(Record(item, row, _anew(shop, Altered(plate, change, coded), track)))
    return Measured(tuple(records))


SHOWN_R = ("r_mouth", "r_width", "r_smile", "r_brows", "r_lids")
FOLLOW = Protocol(
    "follow",
    "Does every clip's double move as the plate does? The product's own tracker anew on the output: NOT an independent judge.",
    ("share", *SHOWN_R, "amplitude", "lag", "channels"),
    dict.fromkeys(("share", *SHOWN_R), 1),
    _items, _measure, {"r_mouth": ">= 0.95", **dict.fromkeys(SHOWN_R[1:], ">= 0.9"), "lag": "0"},
    shares={"share": ("followed", "channels")},
)  # fmt: skip

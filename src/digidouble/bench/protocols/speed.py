"""Speed and memory of the whole program, and of the peers on the same machine.

`digidouble perform` and `digidouble swap` are run as processes, start-up, decoding and encoding included. The one-shot
generator is timed as a bare network (see `baselines.oneshot`), the classic pipeline as a loop over decoded frames without
encoding; both are favoured by that.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from digidouble.bench.baselines.classic import Classic
from digidouble.bench.baselines.oneshot import OneShot
from digidouble.bench.machine import Run, run_digidouble
from digidouble.bench.material import write_movie
from digidouble.bench.protocol import Measured, Protocol, Record, Scope
from digidouble.bench.workshop import Workshop, product_row
from digidouble.footage import open_footage
from digidouble.schema.time import FrameRange

SIZES = ("emotion_happy", "wide_turns_lamp", "turn_window_720p", "presenter_portrait_1080x1920")
FRAMES, QUICK_FRAMES = 150, 40
MEMORY_FRAMES = 60
GENERATORS = ("one-shot 256", "one-shot 512")


def _items(shop: Workshop, scope: Scope) -> list[str]:
    sizes = [c for c in SIZES if c in shop.clips] or list(dict.fromkeys(p.plate for p in scope.pairs))[:1]
    sizes = sizes[1:2] if scope.quick and len(sizes) > 1 else sizes
    cores = [f"{sizes[-1 if len(sizes) < 3 else 2]}, 1 worker"] if (os.cpu_count() or 1) > 1 and not scope.quick else []
    return [*sizes, *cores, *GENERATORS[: 1 if scope.quick else 2], f"{sizes[0]}, 10 times as long"]


def _measure(shop: Workshop, scope: Scope, item: str) -> Measured:
    if item in GENERATORS:
        return _generator(shop, scope, item)
    name, _, variant = item.partition(", ")
    if variant.startswith("10 times"):
        return _memory(shop, scope, item, name)
    workers = 1 if variant else scope.threads
    frames = QUICK_FRAMES if scope.quick else FRAMES
    plate = _encoded(shop, name, frames, 1)
    try:
        analysed, swapped = _processes(shop, scope, name, plate, workers, scope.qualities)
        classic = {} if variant else {"swap_fps": 1 / _classic(shop, scope, name, plate)}
    finally:
        plate.unlink()
    with open_footage(shop.clips[name].path) as footage:
        w, h = footage.shot.size_wh
    size = f"{item} ({w}x{h})"
    records = [Record(size, product_row(q), _numbers(analysed, run)) for q, run in swapped.items()]
    return Measured((*records, *([Record(size, "classic", classic)] if classic else [])))


def _encoded(shop: Workshop, name: str, frames: int, times: int) -> Path:
    """The clip's first frames as H.264, `times` over, as a plate comes from a camera or an editor."""
    out = shop.scratch / f"{shop.clip_id(name)}-{frames}x{times}.mp4"
    with open_footage(shop.clips[name].path) as footage:
        part = FrameRange(0, frames)
        stream = (f for _ in range(times) for f in footage.frames(part))
        return write_movie(stream, footage.shot.rate.fps, out, "libx264", {"crf": "14", "preset": "veryfast"})


def _processes(
    shop: Workshop, scope: Scope, name: str, plate: Path, workers: int, qualities: Sequence[str]
) -> tuple[Run, dict[str, Run]]:
    """`perform` of a plate, and `swap` at each quality; the persona is any other of the run."""
    persona = next((p.persona for p in scope.pairs if p.persona != name), scope.pairs[0].persona)
    perf, out = shop.scratch / "speed.perf", shop.scratch / "speed.mp4"
    perf.unlink(missing_ok=True)
    threads = max(workers, 1)
    analysed = run_digidouble(["perform", str(plate), "-o", str(perf), "--json"], threads, shop.scratch)
    cast = ["--cast", f"main={shop.persona_file(persona)}", "--workers", str(workers), "--no-report", "--json"]
    swapped = {}
    for quality in qualities:
        command = ["swap", str(perf), *cast, "--quality", quality, "-o", str(out)]
        swapped[quality] = run_digidouble(command, threads, shop.scratch)
        out.unlink(missing_ok=True)
    perf.unlink(missing_ok=True)
    return analysed, swapped


def _numbers(analysed: Run, swapped: Run) -> dict[str, float]:
    facts = json.loads(swapped.stdout)
    frames = float(facts["frames"])
    stages = {f"ms_{k}": 1000 * float(v) / frames for k, v in facts["stages_s"].items()}
    return {
        "perform_fps": frames / analysed.wall_s,
        "swap_fps": frames / swapped.wall_s,
        "both_fps": frames / (analysed.wall_s + swapped.wall_s),
        "render_fps": float(facts["frames_per_second"]),
        "peak_mb": max(analysed.peak_mb, swapped.peak_mb),
        "cpu_s": analysed.cpu_s + swapped.cpu_s,
        **stages,
    }


def _classic(shop: Workshop, scope: Scope, name: str, plate: Path) -> float:
    """Seconds a frame of the classic pipeline: decode, detect, landmarks, warp, colour, clone."""
    persona = next((p.persona for p in scope.pairs if p.persona != name), scope.pairs[0].persona)
    tool = Classic(shop.photograph(persona))
    landmarker = shop.observer.landmarker
    done, started = 0, time.perf_counter()
    for rgb8 in shop.pictures(plate):
        boxes = landmarker.boxes(rgb8)
        if boxes:
            tool.frame(rgb8, landmarker.landmarks(rgb8, boxes[0]).astype(np.float64))
        done += 1
        if done == 20:
            break
    return (time.perf_counter() - started) / max(done, 1)


def _generator(shop: Workshop, scope: Scope, item: str) -> Measured:
    network = OneShot(int(item.split()[-1]), scope.threads, shop.scratch)
    picture = np.random.default_rng(0).uniform(-1, 1, (1, 3, network.side, network.side)).astype(np.float32)
    network.run(picture)
    times = []
    for _ in range(2 if scope.quick else 5):
        started = time.perf_counter()
        network.run(picture)
        times.append(time.perf_counter() - started)
    return Measured((Record(item, "network alone", {"swap_fps": 1 / float(np.median(times))}),))


def _memory(shop: Workshop, scope: Scope, item: str, name: str) -> Measured:
    """Peak memory of both processes for a plate and for the same plate ten times over."""
    peaks = []
    for times in (1, 10):
        plate = _encoded(shop, name, QUICK_FRAMES if scope.quick else MEMORY_FRAMES, times)
        try:
            analysed, swapped = _processes(shop, scope, name, plate, scope.threads, scope.qualities[-1:])
            peaks.append([analysed.peak_mb, *(r.peak_mb for r in swapped.values())])
        finally:
            plate.unlink()
    (perform_1, swap_1), (perform_10, swap_10) = peaks
    numbers = {
        "peak_mb": max(peaks[0]), "peak_mb_10": max(peaks[1]), "perform_growth": perform_10 / perform_1 - 1,
        "swap_growth": swap_10 / swap_1 - 1,
    }  # fmt: skip
    return Measured((Record(item, product_row(scope.qualities[-1]), numbers),))


SPEED = Protocol(
    "speed", "How fast is the whole program, how much memory does it take, and how do peers do on this machine?",
    ("perform_fps", "swap_fps", "both_fps", "render_fps", "peak_mb", "perform_growth", "swap_growth"),
    {"perform_fps": 1, "swap_fps": 1, "both_fps": 1, "render_fps": 1, "peak_mb": -1},
    _items, _measure, {"render_fps": ">= 25 at 720p", "perform_growth": "within 0.05", "swap_growth": "within 0.05"},
)  # fmt: skip

"""A shot through workers and an encoder: same bits whatever the number, ranges, failures, bounded memory."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import RATE, TruthPerceiver, person, shoot, still

from digidouble.deliver.settings import DeliverySettings
from digidouble.errors import ConsentError, DigidoubleError, NoFace, SettingsError, UnreadableMedia
from digidouble.farm import RenderSettings, render_shot
from digidouble.footage import MemoryFootage, open_footage
from digidouble.performance import analyse, load_performance
from digidouble.pipeline import prepare, render_frame
from digidouble.schema.mark import payload_of
from digidouble.schema.time import FrameRange

UNMARKED = DeliverySettings(visible_label=False, label_waiver_reason="test of pixels")


@pytest.fixture(scope="module")
def perf(talk_perf):
    return load_performance(talk_perf)


def planes_of(path: Path) -> list:
    with open_footage(path) as footage:
        return [f.planes for f in footage.frames()]


def same(a, b) -> bool:
    return len(a) == len(b) and all(
        (x == y).all() for f, g in zip(a, b, strict=True) for x, y in zip(f, g, strict=True)
    )


def test_workers_do_not_change_a_bit(talk, perf, persona_b, tmp_path):
    results = []
    for workers in (1, 2, 5):
        out = tmp_path / f"{workers}.mkv"
        made = render_shot(talk.footage(), perf, {"main": persona_b}, out, RenderSettings(workers=workers), UNMARKED)
        assert made.frames == 40 and made.tracks == (1,) and [f.path for f in made.delivered.files] == [out]
        results.append(planes_of(out))
    assert same(results[0], results[1]) and same(results[0], results[2])
    casts = prepare(perf, {"main": persona_b})
    number = payload_of(made.delivered.labels.aigc.produce_id)
    assert same(results[0], [render_frame(casts, f, mark=number)[0].planes for f in talk.frames])
    assert not same(results[0], [render_frame(casts, f)[0].planes for f in talk.frames])


def test_a_range_is_that_part_of_the_whole(talk, perf, persona_b, tmp_path):
    same_delivery = replace(UNMARKED, produce_id="one")  # a number of its own would be another invisible mark
    render_shot(talk.footage(), perf, {"main": persona_b}, tmp_path / "a.mkv", RenderSettings(workers=2), same_delivery)
    part = render_shot(
        talk.footage(),
        perf,
        {"main": persona_b},
        tmp_path / "b.mkv",
        RenderSettings(workers=2, frame_range=FrameRange(10, 25)),
        same_delivery,
    )
    assert part.frames == 15
    assert same(planes_of(tmp_path / "a.mkv")[10:25], planes_of(tmp_path / "b.mkv"))
    beyond = render_shot(
        talk.footage(),
        perf,
        {"main": persona_b},
        tmp_path / "c.mkv",
        RenderSettings(workers=1, frame_range=FrameRange(36, 900)),
        same_delivery,
    )
    assert beyond.frames == 4
    with pytest.raises(SettingsError, match="empty"):
        render_shot(
            talk.footage(),
            perf,
            {"main": persona_b},
            tmp_path / "d.mkv",
            RenderSettings(frame_range=FrameRange(50, 60)),
            same_delivery,
        )
    assert not (tmp_path / "d.mkv").exists()


def test_progress_stages_samples_and_curves(talk, perf, persona_b, tmp_path):
    calls = []
    made = render_shot(
        talk.footage(),
        perf,
        {"main": persona_b},
        tmp_path / "a.mkv",
        RenderSettings(workers=2, samples=3),
        UNMARKED,
        lambda a, b: calls.append((a, b)),
    )
    assert calls == [(i + 1, 40) for i in range(40)]
    assert len(made.samples) == 3 and [s.index for s in made.samples] == sorted(s.index for s in made.samples)
    assert all(s.plate.shape == s.result.shape and (s.plate != s.result).any() for s in made.samples)
    assert {"decode", "draw", "composite", "encode"} <= set(made.stages) and all(v >= 0 for v in made.stages.values())
    for frames, values in made.curves.values():
        assert len(frames) == len(values) == 40
    jaw = made.curves["jaw drop"][1]
    assert np.corrcoef(jaw, talk.takes[0].actions["jaw_drop"])[0, 1] > 0.85


class Breaks(MemoryFootage):
    """Decoding fails at frame 20."""

    def _stream(self, frame_range):
        for f in super()._stream(frame_range):
            if f.index == 20:
                raise UnreadableMedia("frame 20 does not decode")
            yield f


def test_a_plate_that_breaks_leaves_nothing(talk, perf, persona_b, tmp_path):
    with pytest.raises(UnreadableMedia, match="frame 20"):
        render_shot(
            Breaks(talk.frames, RATE),
            perf,
            {"main": persona_b},
            tmp_path / "a.mkv",
            RenderSettings(workers=2),
            UNMARKED,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_that_fails_leaves_nothing(talk, perf, persona_b, tmp_path, monkeypatch, workers):
    def fails(casts, frame, clock=None, mark=None):
        if frame.index == 17:
            raise ZeroDivisionError("a bug of ours")
        return render_frame(casts, frame, clock, mark)

    monkeypatch.setattr("digidouble.farm.crew.render_frame", fails)
    with pytest.raises(ZeroDivisionError):
        render_shot(
            talk.footage(), perf, {"main": persona_b}, tmp_path / "a.mkv", RenderSettings(workers=workers), UNMARKED
        )
    assert list(tmp_path.iterdir()) == []


def test_stopping_half_way_leaves_nothing_and_an_older_file_alone(talk, perf, persona_b, tmp_path):
    (tmp_path / "a.mkv").write_bytes(b"older")

    def stop(done, total):
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_shot(
            talk.footage(), perf, {"main": persona_b}, tmp_path / "a.mkv", RenderSettings(workers=2), UNMARKED, stop
        )
    assert [p.name for p in tmp_path.iterdir()] == ["a.mkv"] and (tmp_path / "a.mkv").read_bytes() == b"older"


def test_threads_end_with_the_shot(talk, perf, persona_b, tmp_path):
    import threading

    before = threading.active_count()
    for bad in (False, True):
        try:
            plate = Breaks(talk.frames, RATE) if bad else talk.footage()
            render_shot(plate, perf, {"main": persona_b}, tmp_path / f"{bad}.mkv", RenderSettings(workers=3), UNMARKED)
        except DigidoubleError:
            assert bad
    assert threading.active_count() == before


def test_refusals_come_before_any_work(talk, perf, persona_b, tmp_path):
    out = tmp_path / "a.mkv"
    with pytest.raises(NoFace, match="no face"):
        render_shot(talk.footage(), replace(perf, tracks=()), {"main": persona_b}, out, delivery=UNMARKED)
    with pytest.raises(ConsentError):
        render_shot(talk.footage(), perf, {"main": persona_b}, out, RenderSettings(purpose="film"), UNMARKED)
    assert list(tmp_path.iterdir()) == []
    for bad in ({"quality": "best"}, {"workers": -1}, {"workers": 257}, {"samples": 101}):
        with pytest.raises(SettingsError):
            RenderSettings(**bad)


def test_memory_does_not_grow_with_length(persona_b, tmp_path):
    """A plate more than three times as long, its frames made as they are asked for: the peak is that of the few in flight."""
    short = shoot([still(person(3), 4, (40, 28), 3.5)], (80, 72), grain=0.003)

    class Endless(MemoryFootage):
        def __init__(self, count: int) -> None:
            super().__init__(short.frames, RATE)
            self.shot = replace(self.shot, frame_count=count)

        def _seek(self, index):
            return next(self._stream(range(index, index + 1)))

        def _stream(self, frame_range):
            for i in frame_range:
                base = short.frames[i % 4]
                yield replace(
                    base, index=i, pts_seconds=RATE.seconds_at(i), planes=tuple(p.copy() for p in base.planes)
                )

    def peak(count: int) -> float:
        plate, seen = Endless(count), TruthPerceiver(short)
        perf = load_performance(analyse(plate, tmp_path / f"{count}.perf", perceiver=seen))
        gc.collect()
        tracemalloc.start()
        try:
            render_shot(
                plate,
                perf,
                {"main": persona_b},
                tmp_path / f"{count}.mkv",
                RenderSettings(workers=2, samples=2),
                UNMARKED,
            )
            return tracemalloc.get_traced_memory()[1] / 2**20
        finally:
            tracemalloc.stop()

    peak(8)
    # Beyond the frames in flight: the stored samples' cache (bounded, filled by 384 frames) at some 55 kB a frame.
    assert peak(104) < peak(32) + 72 * 0.06 + 4

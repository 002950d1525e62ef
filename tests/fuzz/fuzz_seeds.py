"""Good files of every kind that people hand to Digidouble, for the fuzz to damage. Made here, small, of nobody."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from datetime import date
from fractions import Fraction
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "shots"))

FRAMES = 3
CONSENT = 'subject = "Made Up"\ngranted_by = "Made Up"\nscope = ["film", "advertising"]\nexpires = 2999-01-01\nevidence = "drawn"\n'
REVOKED = '[[revoked]]\nsubject = "Somebody"\nsince = 2026-11-01\nreason = "by letter"\n\n[[revoked]]\npersona = "%s"\nsince = 2026-11-02\n'
VIEWERS = "id,name,age,region,tags\nv1,Ada,22,north,sport;music\nv2,Bo,41,south,travel\nv3,Cy,30,cn,\n"
CAMPAIGN = """\
campaign: Autumn
viewers: {table: %s, key: id}
plates:
  car: {file: plate.mkv, performance: plate.perf}
personas: {b: b.persona}
overlays:
  hello: {text: {en: "Hello {name}", de: "Hallo {name}"}, place: bottom}
rules:
  - name: sporty
    when: {age: {from: 18, below: 30}, tags: {has: sport}}
    use: {overlay: hello}
defaults: {cast: b, language: en}
output: {name: "{region}/{id}.mp4"}
budget: {variants: 20}
concurrency: {at_once: 2, workers: 1}
"""
EDL = """\
TITLE: CUT
FCM: NON-DROP FRAME

001  A001     V     C        00:00:00:00 00:00:00:02 01:00:00:00 01:00:00:02
* FROM CLIP NAME: plate.mkv
002  A002     V     D    012 00:00:00:01 00:00:00:03 01:00:00:02 01:00:00:04
* FROM CLIP NAME: plate.mkv
* SOURCE FILE: plate.mkv
M2   A002       012.0                00:00:00:01
003  BL       V     C        00:00:00:00 00:00:00:02 01:00:00:04 01:00:00:06
"""


def make_seeds(folder: Path) -> None:
    """Fill `folder` with one sub-folder for each kind; `plate.mkv`, `plate.perf` and `b.persona` are the good counterparts."""
    from scenes import person, persona_of, talking_shot
    from synthetic import TruthPerceiver

    from digidouble.deliver.settings import DeliverySettings
    from digidouble.farm import RenderSettings, render_shot
    from digidouble.footage import MemoryFootage, open_footage
    from digidouble.perception.content import ContentGate
    from digidouble.performance import analyse, load_performance
    from digidouble.persona import save_persona
    from digidouble.schema.persona import Consent
    from digidouble.schema.time import FrameRange

    folder.mkdir(parents=True)
    take = talking_shot(FRAMES)
    agreed = Consent("Made Up", "the fuzz", ("film", "advertising"), date(2999, 1, 1), "drawn")
    persona = replace(persona_of(person(7), "b", yaws=(0.0, 22.0), atlas_px=128), consent=agreed)
    for target in (folder / "b.persona", folder / "persona" / "b.persona"):
        save_persona(persona, target)
    plain = DeliverySettings(visible_label=False, label_waiver_reason="seed of the fuzz")
    _write(take.footage(), folder / "plate.mkv", plain)
    (folder / "perf").mkdir()
    with open_footage(folder / "plate.mkv") as plate:
        analyse(plate, folder / "plate.perf", perceiver=TruthPerceiver(take, 0.2))
        shutil.copy(folder / "plate.perf", folder / "perf" / "plate.perf")
        performance = load_performance(folder / "plate.perf")
        delivered = folder / "delivered"
        delivered.mkdir()
        for name in ("d.png", "d.mp4", "d.mkv", "d.tif", "d.jpg", "d.####.exr"):
            frames = FrameRange(0, 1 if name in ("d.png", "d.tif", "d.jpg") else FRAMES)
            settings = RenderSettings(workers=1, samples=0, frame_range=frames)
            gate = ContentGate(runner=CleanPictures())
            render_shot(plate, performance, {"main": persona}, delivered / name, settings, plain, gate=gate)
    _media(folder / "media", MemoryFootage(take.frames, take.footage().shot.rate), plain)
    _texts(folder)


class CleanPictures:
    """In place of the content gate's network."""

    def run(self, inputs):
        return {"scores": np.array([[0.99, 0.01]], np.float32)}


def _write(footage, out: Path, settings) -> None:
    from digidouble.deliver.writer import open_writer

    with open_writer(out, footage.shot, settings) as writer:
        for frame in footage.frames():
            writer.write(frame)
        writer.close()


def _media(folder: Path, footage, settings) -> None:
    """Containers, codecs and picture formats, through our writer and, for what it does not write, FFmpeg and Pillow."""
    import av
    from PIL import Image

    folder.mkdir()
    ours = {"a.mp4": {}, "h265.mp4": {"codec": "h265"}, "prores.mov": {"codec": "prores422hq"}, "alpha.mov": {"codec": "prores4444"},
            "ffv1.mkv": {}, "a.png": {}, "a.tif": {}, "a.webp": {}, "a.exr": {}, "a.jpg": {}}  # fmt: skip
    still = type(footage)(list(footage.frames())[:1], footage.shot.rate)
    for name, more in ours.items():
        source = still if name.endswith(("png", "tif", "webp", "exr", "jpg")) else footage
        _write(source, folder / name, replace(settings, **more))
    (folder / "seq").mkdir()
    _write(footage, folder / "seq" / "s.####.exr", settings)
    _write(footage, folder / "seq" / "t.####.png", settings)
    for beside in (*folder.rglob("*.json"), *folder.rglob("*.c2pa")):
        beside.unlink()
    from digidouble.schema.colour import rgb8_from_frame

    pictures = [rgb8_from_frame(f) for f in footage.frames()]
    Image.fromarray(pictures[0]).save(folder / "a.bmp")
    Image.fromarray(pictures[0]).save(folder / "a.gif")
    Image.fromarray(pictures[0]).save(folder / "lzw.tif", compression="tiff_lzw")
    Image.fromarray(pictures[0].astype(np.uint16)[..., 0] * 257).save(folder / "deep.png")
    codecs = {
        "a.avi": "mpeg4",
        "a.mpg": "mpeg2video",
        "a.mxf": "mpeg2video",
        "a.ts": "libx264",
        "a.webm": "libvpx",
        "j.mov": "mjpeg",
        "dnxhr.mov": "dnxhd",
    }
    for name, codec in codecs.items():
        with av.open(str(folder / name), "w") as movie:
            stream = movie.add_stream(
                codec, rate=Fraction(25), options={"profile": "dnxhr_sq"} if codec == "dnxhd" else {}
            )
            stream.height, stream.width = (144, 256) if codec == "dnxhd" else pictures[0].shape[:2]
            stream.pix_fmt = {"mjpeg": "yuvj420p", "dnxhd": "yuv422p"}.get(codec, "yuv420p")
            sound = movie.add_stream("pcm_s16le", rate=48000) if name == "j.mov" else None
            for picture in pictures:
                movie.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            movie.mux(stream.encode(None))
            if sound is not None:
                tone = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), format="s16", layout="mono")
                tone.sample_rate = 48000
                movie.mux(sound.encode(tone))


def _texts(folder: Path) -> None:
    import opentimelineio as otio
    import pyarrow as pa
    import pyarrow.parquet as pq

    def put(name: str, text: str) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, "utf-8")

    put("consent/consent.toml", CONSENT)
    put("revoked/revoked.toml", REVOKED % ("3f2a" * 16))
    put("campaign/c.yaml", CAMPAIGN % "viewers.csv")
    put("campaign/p.yaml", CAMPAIGN % "viewers.parquet")
    put("campaign/viewers.csv", VIEWERS)
    lines = [line.split(",") for line in VIEWERS.splitlines()]
    pq.write_table(
        pa.table({name: [r[k] for r in lines[1:]] for k, name in enumerate(lines[0])}),
        folder / "campaign" / "viewers.parquet",
    )
    put("edit/cut.edl", EDL)
    timeline = otio.schema.Timeline("cut")
    track = otio.schema.Track("v1", kind=otio.schema.TrackKind.Video)
    timeline.tracks.append(track)
    for start in (0, 1):
        times = otio.opentime.TimeRange(otio.opentime.RationalTime(start, 24), otio.opentime.RationalTime(2, 24))
        there = otio.opentime.TimeRange(otio.opentime.RationalTime(0, 24), otio.opentime.RationalTime(FRAMES, 24))
        track.append(otio.schema.Clip(f"shot {start}", otio.schema.ExternalReference("plate.mkv", there), times))
    track.append(otio.schema.Gap(source_range=times))
    (folder / "edit" / "cut.otio").write_text(otio.adapters.write_to_string(timeline, "otio_json"))

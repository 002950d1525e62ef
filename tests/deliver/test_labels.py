"""Machine-readable and visible labels, read back and measured."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from xml.etree import ElementTree

import av
import numpy as np
import OpenEXR
import pytest
from delivered_plates import (
    BT709,
    LINEAR,
    PQ,
    RGB8,
    SRGB,
    YUV8,
    YUV10,
    decoded,
    frames_of,
    planes_in,
    shot_of,
    smooth_frame,
    waived,
)
from jaxtyping import TypeCheckError
from PIL import Image

from digidouble.deliver.labels import AigcLabel, Labels, append_xmp_box, labels_from_xmp, read_labels, xmp_packet
from digidouble.deliver.settings import DeliverySettings
from digidouble.deliver.visible_label import CORNERS, VisibleLabel, choose_corner, label_frame, label_roi
from digidouble.deliver.writer import open_writer
from digidouble.errors import SettingsError, UnreadableMedia
from digidouble.schema.frame import PixelLayout, Roi

STILLS = ["out.png", "out.jpg", "out.tif", "out.webp", "out.exr"]
MOVIES = ["out.mp4", "out.mov", "out.mkv"]
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
SEVEN = ["Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2"]


def delivered(tmp_path, name, settings=None, layout=YUV8, colour=BT709):
    shot = shot_of(layout, colour, 1, kind="image" if name in STILLS else "movie")
    with open_writer(tmp_path / name, shot, settings or DeliverySettings(content_producer="Studio 数字")) as writer:
        writer.write(frames_of(shot)[0])
    return writer.close()


@pytest.mark.parametrize("name", STILLS + MOVIES)
def test_every_format_carries_exactly_one_aigc_label(tmp_path, name):
    labels = delivered(tmp_path, name).labels
    found = read_labels(tmp_path / name)
    assert found == labels and found.complete and found.aigc_copies == 1
    assert found.aigc.label == "1" and found.aigc.content_producer == "Studio 数字"
    assert found.source_type == "compositeWithTrainedAlgorithmicMedia"
    # independent of our reader: the name of the field stands in the bytes once
    data = (tmp_path / name).read_bytes()
    assert data.count(b"AIGC") - data.count(b"/ns/AIGC/") == 1
    signed = name.rsplit(".", 1)[-1] in ("png", "jpg", "tif", "webp", "mp4", "mov")  # the manifest says it once more
    assert data.count(b"digitalsourcetype/compositeWithTrainedAlgorithmicMedia") == 1 + signed


def test_labels_by_other_readers(tmp_path):
    for name in STILLS + MOVIES:
        delivered(tmp_path, name)
    for name in MOVIES:
        with av.open(str(tmp_path / name)) as movie:
            assert list(json.loads(movie.metadata["AIGC"])) == SEVEN
    with Image.open(tmp_path / "out.png") as png:
        assert list(json.loads(png.text["AIGC"])) == SEVEN
        assert "compositeWithTrainedAlgorithmicMedia" in png.info["xmp"].decode()
    for name in ("out.jpg", "out.tif", "out.webp"):
        with Image.open(tmp_path / name) as image:
            tag = image.tag_v2[700] if name == "out.tif" else image.info["xmp"]
        text = bytes(tag).decode().split("?>", 1)[1].rsplit("<?", 1)[0]  # a real XML parser reads it too
        (description,) = ElementTree.fromstring(text).iter(f"{{{RDF}}}Description")
        assert list(json.loads(description.attrib["{http://www.tc260.org.cn/ns/AIGC/1.0/}AIGC"])) == SEVEN
        source = description.attrib["{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"]
        assert source.endswith("/compositeWithTrainedAlgorithmicMedia")
    with OpenEXR.File(str(tmp_path / "out.exr")) as exr:
        assert list(json.loads(exr.header()["AIGC"])) == SEVEN
    with av.open(str(tmp_path / "out.mp4"), options={"export_xmp": "1"}) as movie:
        assert "compositeWithTrainedAlgorithmicMedia" in movie.metadata["xmp"]


def test_two_copies_are_noticed(tmp_path):
    delivered(tmp_path, "out.mp4")
    labels = read_labels(tmp_path / "out.mp4")
    once = xmp_packet(labels, with_aigc=True)
    assert labels_from_xmp(once).aigc_copies == 1
    assert labels_from_xmp(once + once).aigc_copies == 2
    assert not labels_from_xmp(once + once).complete
    bare = tmp_path / "bare.mp4"
    with av.open(str(tmp_path / "out.mp4")) as source, av.open(str(bare), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                copy.mux(packet)
    assert read_labels(bare) == Labels(None, None, 0)
    append_xmp_box(bare, labels)
    assert read_labels(bare).source_type == labels.source_type and len(decoded(bare)) == 1


def test_hostile_values_round_trip_or_are_refused(tmp_path):
    nasty = 'a"<b>&\'}] AIGC="x" 中文'
    for name in STILLS + MOVIES:
        delivered(tmp_path, name, DeliverySettings(content_producer=nasty, produce_id="1"))
        assert read_labels(tmp_path / name).aigc == AigcLabel(nasty, "1")
    for bad in ({"content_producer": "a\nb"}, {"content_producer": ""}, {"produce_id": "x" * 600}):
        with pytest.raises(SettingsError):
            DeliverySettings(**bad).labels_for(shot_of(YUV8, BT709, 1))


@pytest.mark.parametrize(
    "content", [b"", b"junk" * 50, b"\x89PNG\r\n\x1a\n" + b"\xff" * 40, b"\0\0\0\x01ftyp" + b"\0" * 9]
)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".exr", ".mp4", ".mkv", ".doc"])
def test_damaged_files_are_unreadable_media_or_unlabelled(tmp_path, content, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    try:
        assert not read_labels(path).complete
    except UnreadableMedia as error:
        assert "x" in str(error)
    with pytest.raises(UnreadableMedia):
        read_labels(tmp_path / f"missing{suffix}")


def test_waiver_rules():
    with pytest.raises(SettingsError, match="label_waiver_reason"):
        DeliverySettings(visible_label=False)
    with pytest.raises(SettingsError, match="label_waiver_reason"):
        DeliverySettings(visible_label=False, label_waiver_reason="  ")
    with pytest.raises(SettingsError, match="visible_label is on"):
        DeliverySettings(label_waiver_reason="film master")
    for bad in ({"codec": "vp9"}, {"quality": "best"}, {"crf": 52}, {"threads": 0}, {"label_corner": "middle"}):
        with pytest.raises((SettingsError, TypeCheckError)):  # the latter where annotations are checked at run time
            DeliverySettings(**bad)
    with pytest.raises(SettingsError):
        VisibleLabel(seconds=1.0)
    with pytest.raises(SettingsError):
        VisibleLabel(height_fraction=0.04)


def test_produce_id_follows_the_delivery():
    shot = shot_of(YUV8, BT709, 1)
    assert waived().labels_for(shot) == waived().labels_for(shot)
    assert waived().labels_for(shot) != waived(consent_ids=("x",)).labels_for(shot)
    assert waived().labels_for(shot) != waived().labels_for(replace(shot, sha256="cd" * 32))
    assert waived(source_type="trainedAlgorithmicMedia").labels_for(shot).source_type == "trainedAlgorithmicMedia"


LAYOUTS = [
    (YUV8, BT709),
    (YUV10, PQ),
    (PixelLayout("yuva444p10le", "yuv", 10, has_alpha=True), BT709),
    (RGB8, SRGB),
    (PixelLayout("rgba", "rgb", 8, has_alpha=True), SRGB),
    (PixelLayout("gray", "gray", 8), BT709),
    (LINEAR, SRGB),
]


@pytest.mark.parametrize(("layout", "colour"), LAYOUTS)
@pytest.mark.parametrize("size_wh", [(640, 360), (361, 203), (32, 24)])
@pytest.mark.parametrize("corner", CORNERS)
def test_visible_label_changes_only_its_corner(layout, colour, size_wh, corner):
    frame = frames_of(shot_of(layout, colour, 1, size_wh=size_wh))[0]
    before = [plane.copy() for plane in frame.planes]
    label = VisibleLabel(corner)
    shown = label_frame(frame, label)
    roi = label_roi(size_wh, label)
    assert roi.x1 <= size_wh[0] and roi.y1 <= size_wh[1]
    assert ("left" in corner) == (roi.x0 < size_wh[0] - roi.x1) or roi.size_wh[0] > size_wh[0] - 8
    for i, (old, new, kept) in enumerate(zip(frame.planes, shown.planes, before, strict=True)):
        np.testing.assert_array_equal(old, kept)  # the given frame is untouched
        sx, sy = layout.chroma_shift_xy if layout.kind == "yuv" and i in (1, 2) else (0, 0)
        changed = np.argwhere((old != new).reshape(*old.shape[:2], -1).any(axis=2))
        assert len(changed)
        assert changed[:, 0].min() >= roi.y0 >> sy and changed[:, 0].max() < -(-roi.y1 // (1 << sy))
        assert changed[:, 1].min() >= roi.x0 >> sx and changed[:, 1].max() < -(-roi.x1 // (1 << sx))


@pytest.mark.parametrize("size_wh", [(1920, 1080), (1080, 1920), (640, 480)])
def test_letters_are_as_high_as_the_standard_asks(size_wh):
    shot = shot_of(YUV8, BT709, 1, size_wh=size_wh)
    luma = label_frame(smooth_frame(shot, 0.2), VisibleLabel()).planes[0].astype(int)
    ink = luma > 150
    columns = np.flatnonzero(ink.any(axis=0))
    letter_a = ink[:, columns[0] : columns[0] + round(0.03 * min(size_wh))]  # the first letter is a capital A
    rows = np.flatnonzero(letter_a.any(axis=1))
    assert rows[-1] - rows[0] + 1 >= 0.05 * min(size_wh)
    assert luma.max() <= 235 and 0.4 * min(size_wh) < columns[-1] - columns[0] < 0.8 * min(size_wh)


def test_hdr_white_does_not_dazzle():
    shot = shot_of(YUV10, PQ, 1, size_wh=(640, 360))
    luma = label_frame(smooth_frame(shot, 0.2), VisibleLabel()).planes[0]
    assert luma.max() <= round(64 + 876 * 0.58)


def test_corner_keeps_out_of_faces():
    label = VisibleLabel("top_left")
    assert choose_corner((640, 360), label, ()).corner == "top_left"
    assert choose_corner((640, 360), label, (Roi(0, 0, 300, 100),)).corner == "top_right"
    top = (Roi(0, 0, 640, 120), Roi(0, 300, 200, 360))
    assert choose_corner((640, 360), label, top).corner == "bottom_right"


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(12)])
def test_label_is_shown_for_two_seconds_and_no_longer(tmp_path, fps):
    from digidouble.schema.time import FrameRate

    shot = shot_of(YUV8, BT709, 56, rate=FrameRate(fps))
    plain = smooth_frame(shot)
    with open_writer(tmp_path / "out.mkv", shot, DeliverySettings()) as writer:
        for i in range(56):
            writer.write(replace(plain, index=i))
    shown = [bool((planes_in(p, 8)[0] != plain.planes[0]).any()) for p in decoded(tmp_path / "out.mkv")]
    count = math.ceil(2 * fps)
    assert shown == [True] * count + [False] * (56 - count)
    assert writer.close().visible_label_frames == count


def test_label_goes_to_the_corner_away_from_the_face(tmp_path):
    shot = shot_of(YUV8, BT709, 2)
    plain = smooth_frame(shot)
    with open_writer(tmp_path / "out.mkv", shot, DeliverySettings()) as writer:
        writer.write(plain, keep_clear=[Roi(0, 0, 96, 32)])
        writer.write(replace(plain, index=1), keep_clear=[Roi(0, 32, 96, 64)])  # it stays where it began
    for picture in decoded(tmp_path / "out.mkv"):
        assert np.flatnonzero((planes_in(picture, 8)[0] != plain.planes[0]).any(axis=1)).min() >= 32

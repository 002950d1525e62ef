"""What programs that are not ours say of deliveries: FFmpeg's decoders, the `colr` atom read by hand, ffprobe and MediaInfo.

docs/deliver.md prints the table and the readers' versions. What matters is tested with any version; a printed cell is held to what its reader
says where that has the version of the docs, for words change from one to the next. `python tests/deliver/test_other_readers.py` prints it anew.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest
from delivered_plates import BT709, LINEAR, PQ, RGB8, SRGB, YUV8, YUV10, frames_of, shot_of, smooth_frame, waived

from digidouble.deliver.writer import open_writer
from digidouble.schema.frame import ColourTags, PixelLayout

HLG = ColourTags(9, 18, 9, False)
RGB16 = PixelLayout("rgb48le", "rgb", 16)
YUV422_10 = PixelLayout("yuv422p10le", "yuv", 10, (1, 0))
TIMECODE = "01:02:03:04"
DOCS = Path(__file__).parents[2] / "docs" / "deliver.md"


@dataclass(frozen=True)
class Case:
    """One row of the table: what it is called, and how it is made."""

    name: str
    suffix: str
    codec: str
    layout: PixelLayout
    colour: ColourTags

    @property
    def wanted(self) -> tuple[int, int, int]:
        return self.colour.primaries, self.colour.transfer, self.colour.matrix


CASES = [
    Case("ProRes 422 HQ", ".mov", "prores422hq", YUV422_10, BT709),
    Case("ProRes 422 HQ, PQ", ".mov", "prores422hq", YUV422_10, PQ),
    Case("ProRes 4444, PQ", ".mov", "prores4444", YUV422_10, PQ),
    Case("ProRes 4444, HLG", ".mov", "prores4444", YUV422_10, HLG),
    Case("DNxHR HQ", ".mov", "dnxhr", YUV8, BT709),
    Case("DNxHR HQX, PQ", ".mov", "dnxhr", YUV422_10, PQ),
    Case("DNxHR 444", ".mov", "dnxhr444", YUV422_10, BT709),
    Case("H.264 8 bits", ".mp4", "h264", YUV8, BT709),
    Case("H.264 10 bits", ".mp4", "h264", YUV10, BT709),
    Case("H.265 8 bits", ".mp4", "h265", YUV8, BT709),
    Case("H.265 10 bits, PQ", ".mp4", "h265", YUV10, PQ),
    Case("H.265 10 bits, HLG", ".mp4", "h265", YUV10, HLG),
    Case("H.264 in mov", ".mov", "h264", YUV8, BT709),
    Case("FFV1 in mkv, PQ", ".mkv", "ffv1", YUV10, PQ),
]
FFPROBE = {1: "bt709", 9: "bt2020", 16: "smpte2084", 18: "arib-std-b67"}
DECODER = {
    "prores422hq": "prores", "prores4444": "prores", "dnxhr": "dnxhd", "dnxhr444": "dnxhd", "h264": "h264", "h265": "hevc", "ffv1": "ffv1",
}  # fmt: skip
SAMPLES = {"yuv420p": 8, "yuv422p": 8, "yuv420p10le": 10, "yuv422p10le": 10, "yuv444p10le": 10, "yuva444p12le": 12}
MATRIX = {1: "bt709", 9: "bt2020nc"}
MEDIAINFO = {1: "BT.709", 9: "BT.2020", 16: "PQ", 18: "HLG"}


def made(case: Case, folder: Path) -> Path:
    """Three frames of 256x144 at 24000/1001."""
    shot = shot_of(case.layout, case.colour, 3, size_wh=(256, 144), timecode=TIMECODE)
    out = folder / f"m{case.suffix}"
    with open_writer(out, shot, waived(codec=case.codec, quality="draft")) as writer:
        for i in range(3):
            writer.write(replace(smooth_frame(shot, 0.4), index=i))
    assert writer.close().warnings == ()
    return out


def decoder_says(path: Path) -> str:
    """FFmpeg's decoder: profile (or name) and samples."""
    with av.open(str(path)) as movie:
        context = movie.streams.video[0].codec_context
        picture = next(movie.decode(video=0))
        return f"{context.name} {context.profile or ''}".strip() + f", {picture.format.name}"


def atom_says(path: Path) -> str:
    """The `colr` atom; "" in containers that have none."""
    data = path.read_bytes()
    if path.suffix == ".mkv":
        return ""
    at = data.index(b"colr", data.index(b"moov"))
    return "/".join(map(str, struct.unpack(">3H", data[at + 8 : at + 14])))


def ffprobe_says(path: Path) -> dict[str, str]:
    """Its stream's facts; timecode from wherever it puts it."""
    found = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_streams", "-show_format", "-show_frames", "-of", "json", str(path)],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    record = json.loads(found.stdout)
    stream, frame = record["streams"][0], record["frames"][0]
    tags = {k.lower(): v for k, v in (record["format"].get("tags", {}) | stream.get("tags", {})).items()}
    return {
        "timecode": tags.get("timecode", ""), "rate": stream["r_frame_rate"],
        "tags": "/".join(frame.get(k, "?") for k in ("color_primaries", "color_transfer", "color_space")),
        "stream_tags": "/".join(stream.get(k, "?") for k in ("color_primaries", "color_transfer", "color_space")),
        "aigc": tags.get("aigc", ""),
    }  # fmt: skip


def mediainfo_says(path: Path) -> dict[str, str]:
    """MediaInfo's facts."""
    from pymediainfo import MediaInfo

    tracks = MediaInfo.parse(str(path)).tracks
    video = next(t for t in tracks if t.track_type == "Video")
    times = [t.time_code_of_first_frame for t in tracks if getattr(t, "time_code_of_first_frame", None)]
    return {
        "format": " ".join(v for v in (video.format, video.format_profile) if v), "bits": str(video.bit_depth or ""), "space": video.color_space or "",
        "tags": "/".join(v or "?" for v in (video.color_primaries, video.transfer_characteristics, video.matrix_coefficients)),
        "timecode": next(iter(times), ""), "rate": str(video.frame_rate), "chroma": video.chroma_subsampling or "",
    }  # fmt: skip


def row_of(case: Case, path: Path) -> dict[str, str]:
    """The table's row, by reader; without those that are not installed."""
    row = {"delivery": case.name, "FFmpeg decodes": decoder_says(path), "`colr`": atom_says(path)}
    if shutil.which("ffprobe"):
        said = ffprobe_says(path)
        row["ffprobe"] = f"{said['tags']}, {said['timecode']}"
    if find_spec("pymediainfo"):
        said = mediainfo_says(path)
        kind = " ".join(
            v for v in (said["format"].split("@")[-1 if "VC-3" in said["format"] else 0], said["space"]) if v
        )
        bits = f" {said['bits']} bits" if said["bits"] else ""
        row["MediaInfo"] = (
            f"{'VC-3 ' if 'VC-3' in said['format'] else ''}{kind}{bits}, {said['tags']}, {said['timecode']}"
        )
    return row


def as_printed() -> dict[str, bool]:
    """Whether a reader here has the version that docs/deliver.md names, by column; of those that are installed."""
    text, found = DOCS.read_text("utf-8"), {"FFmpeg decodes": f"PyAV {av.__version__}"}
    if shutil.which("ffprobe"):
        said = subprocess.run(["ffprobe", "-version"], capture_output=True, check=True, text=True, timeout=60).stdout
        found["ffprobe"] = f"ffprobe {said.split()[2].split('-')[0]}"
    if find_spec("pymediainfo"):
        from pymediainfo import MediaInfo

        found["MediaInfo"] = f"MediaInfo {MediaInfo._get_library()[2]}"
    return {reader: re.search(rf"{re.escape(version)}(?![\d.])", text) is not None for reader, version in found.items()}


def printed() -> dict[str, dict[str, str]]:
    """The table of docs/deliver.md, by delivery."""
    lines = [
        [cell.strip() for cell in line.strip("|\n ").split("|")]
        for line in DOCS.read_text("utf-8").splitlines()
        if line.startswith("|")
    ]
    start = next(i for i, cells in enumerate(lines) if cells[0] == "delivery" and "ffprobe" in cells)
    rows = [
        dict(zip(lines[start], cells, strict=True)) for cells in lines[start + 2 :] if len(cells) == len(lines[start])
    ]
    return {row["delivery"]: row for row in rows}


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_every_reader_says_what_was_meant_and_what_the_docs_print(case, tmp_path):
    path = made(case, tmp_path)
    if path.suffix != ".mkv":
        assert atom_says(path) == "/".join(map(str, case.wanted))
    if shutil.which("ffprobe"):
        said = ffprobe_says(path)
        tags = "/".join((FFPROBE[case.wanted[0]], FFPROBE[case.wanted[1]], MATRIX[case.wanted[2]]))
        assert (said["tags"], said["stream_tags"]) == (tags, tags)  # of the decoded frame, and of the stream
        assert (said["rate"], said["timecode"]) == ("24000/1001", TIMECODE)
        assert json.loads(said["aigc"])["Label"] == "1"
    if find_spec("pymediainfo"):
        said = mediainfo_says(path)
        tags = [MEDIAINFO[v] for v in case.wanted]
        assert said["tags"].replace(" non-constant", "").split("/") == tags
        assert (said["rate"], said["timecode"]) == ("23.976", TIMECODE)
        assert said["bits"] in ("", str(depth(case)))
    assert decoder_says(path).startswith(DECODER[case.codec]) and SAMPLES[decoder_says(path).split()[-1]] >= depth(case)
    kept, same = printed()[case.name], as_printed()
    for reader, words in row_of(case, path).items():
        assert kept[reader] == words or not same.get(reader, True), reader


def depth(case: Case) -> int:
    """Bits that the file is to hold."""
    shallow = "8 bits" in case.name or case.name == "DNxHR HQ" or (case.suffix == ".mov" and case.codec == "h264")
    return 8 if shallow else 10


def test_the_docs_name_the_versions_they_were_made_with():
    """Else no cell would ever be compared."""
    text = DOCS.read_text("utf-8")
    assert all(re.search(rf"{name} \d+\.\d+", text) for name in ("PyAV", "ffprobe", "MediaInfo"))


def test_the_docs_print_no_row_that_is_not_tested():
    assert list(printed()) == [case.name for case in CASES]


@pytest.mark.parametrize(
    ("name", "layout", "colour", "stored"),
    [
        ("o.png", RGB8, SRGB, "uint8"),
        ("o.png", RGB16, PQ, "uint16"),
        ("o.tif", RGB8, SRGB, "uint8"),
        ("o.tif", RGB16, SRGB, "uint16"),
        ("o.exr", LINEAR, ColourTags(1, 8, 0, True), "float"),
        ("o.####.exr", LINEAR, ColourTags(1, 8, 0, True), "float"),
        ("o.####.png", RGB16, SRGB, "uint16"),
    ],
)
def test_pictures_and_sequences_by_openimageio(tmp_path, name, layout, colour, stored):
    """Sample for sample, with the labels where that reader shows text."""
    oiio = pytest.importorskip("OpenImageIO")
    kind = "sequence" if "#" in name else "image"
    shot = shot_of(
        layout, colour, 2 if kind == "sequence" else 1, kind=kind, start_number=1001 if kind == "sequence" else 0
    )
    frames = frames_of(shot)
    with open_writer(tmp_path / name, shot, waived()) as writer:
        for frame in frames:
            writer.write(frame)
    for frame in frames:
        path = tmp_path / name.replace("####", str(1001 + frame.index))
        picture = oiio.ImageInput.open(str(path))
        spec = picture.spec()
        assert (spec.width, spec.height, spec.nchannels, str(spec.format)) == (*shot.size_wh, 3, stored)
        np.testing.assert_array_equal(picture.read_image(stored), frame.planes[0])
        if path.suffix == ".exr":
            assert json.loads(spec.getattribute("AIGC"))["Label"] == "1" and spec.getattribute("compression") == "zip"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        rows = [row_of(case, made(case, Path(name))) for case in CASES]
    print(
        "\n".join(
            [
                "| " + " | ".join(rows[0]) + " |",
                "|---" * len(rows[0]) + "|",
                *("| " + " | ".join(row.values()) + " |" for row in rows),
            ]
        )
    )

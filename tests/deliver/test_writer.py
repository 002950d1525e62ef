"""All or nothing: what stands on disk after success, failure, Ctrl-C and a full disk."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import av
import pytest
from delivered_plates import BT709, LINEAR, RGB8, SRGB, YUV8, frames_of, shot_of, waived

from digidouble.deliver.log import log_path, read_log
from digidouble.deliver.settings import DeliverySettings
from digidouble.deliver.signing import Signed
from digidouble.deliver.writer import open_writer
from digidouble.errors import OutputError, SettingsError, UnreadableMedia

OUTPUTS = ["out.mp4", "out.mov", "out.mkv", "out.####.png", "out.%03d.exr", "out.####.tif"]


@pytest.mark.parametrize("name", OUTPUTS)
def test_delivery_is_complete_hashed_and_logged(tmp_path, name):
    shot = shot_of(YUV8, BT709, 3, start_number=7)
    with open_writer(tmp_path / name, shot, waived(consent_ids=("c-17",))) as writer:
        for frame in frames_of(shot):
            writer.write(frame)
        assert not [p for p in tmp_path.iterdir() if not p.name.startswith(".")], "nothing under final names yet"
    delivered = writer.close()
    assert {p.name for p in tmp_path.iterdir()} == {f.path.name for f in (*delivered.files, *delivered.sidecars)} | {
        delivered.log.name
    }
    for file in (*delivered.files, *delivered.sidecars):
        assert hashlib.sha256(file.path.read_bytes()).hexdigest() == file.sha256
        assert file.path.stat().st_size == file.size_bytes
    (record,) = read_log(delivered.log)
    assert record["consents"] == ["c-17"] and record["frames"] == 3
    assert record["labels"]["waiver"] == "test of samples" and record["labels"]["visible_frames"] == 0
    assert [f["sha256"] for f in record["files"]] == [f.sha256 for f in delivered.files]
    if "." in name[4:]:
        assert [f.path.name[4:-4].strip("0") for f in delivered.files] == ["7", "8", "9"]


class Boom(Exception):
    pass


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("kind", [Boom, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_nothing_and_spares_the_old_file(tmp_path, name, kind):
    shot = shot_of(YUV8, BT709, 3)
    old = tmp_path / "out.mp4"
    old.write_bytes(b"the delivery of yesterday")
    with pytest.raises(kind), open_writer(tmp_path / name, shot, DeliverySettings()) as writer:
        writer.write(frames_of(shot)[0])
        raise kind
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes() == b"the delivery of yesterday"
    with pytest.raises(OutputError, match="closed or was aborted"):
        writer.write(frames_of(shot)[1])
    writer.abort()


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.mov", "out.####.png", "out.####.exr"])
@pytest.mark.parametrize("limit", [3000, 60_000])
def test_a_file_that_cannot_grow_fails_clearly_and_leaves_nothing(tmp_path, name, limit):
    """A real refusal by the system: the process may not write more than `limit` bytes into a file."""
    script = textwrap.dedent(f"""
        import resource, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from delivered_plates import *
        from digidouble.deliver.writer import open_writer
        from digidouble.errors import OutputError
        shot = shot_of(YUV8, BT709, 8, size_wh=(320, 240))
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        try:
            with open_writer(Path({str(tmp_path / name)!r}), shot, waived()) as writer:
                for frame in frames_of(shot):
                    writer.write(frame)
        except OutputError as error:
            print("OutputError:", error)
    """)
    done = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, timeout=60)
    assert "OutputError:" in done.stdout, done.stderr
    assert "grew beyond" in done.stdout or "cannot be written" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_is_named(tmp_path, monkeypatch, code):
    shot = shot_of(YUV8, BT709, 3)

    class FullDisk:
        def __init__(self, container):
            self._container = container

        def __getattr__(self, name):
            return getattr(self._container, name)

        def mux(self, packets):
            raise OSError(code, os.strerror(code))

    opened = av.open
    monkeypatch.setattr(av, "open", lambda *a, **k: FullDisk(opened(*a, **k)))
    words = "disk is full" if code == errno.ENOSPC else "read-only"
    with pytest.raises(OutputError, match=words), open_writer(tmp_path / "out.mkv", shot, waived()) as writer:
        for frame in frames_of(shot):
            writer.write(frame)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_log_leaves_no_unrecorded_copy(tmp_path):
    shot = shot_of(YUV8, BT709, 1)
    log_path(tmp_path / "out.mp4").mkdir()
    with pytest.raises(OutputError), open_writer(tmp_path / "out.mp4", shot, waived()) as writer:
        writer.write(frames_of(shot)[0])
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4.delivery.json"]


def test_refusals_say_what_is_expected(tmp_path):
    shot = shot_of(YUV8, BT709, 3)
    with pytest.raises(OutputError, match=r"\.avi.*\.mp4"):
        open_writer(tmp_path / "out.avi", shot, waived())
    with pytest.raises(OutputError, match=r"folder .* does not exist"):
        open_writer(tmp_path / "no" / "out.mp4", shot, waived())
    with pytest.raises(SettingsError, match=r"out\.####\.png"):
        open_writer(tmp_path / "out.png", shot, waived())
    with pytest.raises(SettingsError, match="one frame field"):
        open_writer(tmp_path / "a##b##.png", shot, waived())
    with pytest.raises(OutputError, match="folder of that name"):
        (tmp_path / "dir.mp4").mkdir()
        open_writer(tmp_path / "dir.mp4", shot, waived())
    plate = tmp_path / "plate.mp4"
    plate.write_bytes(b"plate")
    with pytest.raises(OutputError, match="plate itself"):
        open_writer(plate, shot_of(YUV8, BT709, 3, path=str(plate)), waived())
    assert plate.read_bytes() == b"plate"
    with pytest.raises(OutputError, match="no frame"), open_writer(tmp_path / "empty.mp4", shot, waived()):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dir.mp4", "plate.mp4"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission"):
        open_writer(tmp_path / "out.mp4", shot_of(YUV8, BT709, 1), waived())


def test_unwritable_folder_by_any_user():
    with pytest.raises(OutputError, match="out"):
        open_writer(Path("/proc/self/out.mp4"), shot_of(YUV8, BT709, 1), waived())


@pytest.mark.parametrize(
    ("layout", "colour", "size_wh", "index"),
    [(YUV8, BT709, (96, 64), 2), (YUV8, BT709, (98, 64), 1), (RGB8, SRGB, (96, 64), 1), (LINEAR, SRGB, (96, 64), 1)],
)
def test_frames_that_do_not_belong_are_refused(tmp_path, layout, colour, size_wh, index):
    shot = shot_of(YUV8, BT709, 3)
    stranger = frames_of(shot_of(layout, colour, 3, size_wh=size_wh))[index]
    with pytest.raises(OutputError, match=f"frame {index}"), open_writer(tmp_path / "o.mp4", shot, waived()) as writer:
        writer.write(frames_of(shot)[0])
        writer.write(stranger)
    assert list(tmp_path.iterdir()) == []


def test_log_keeps_earlier_deliveries(tmp_path):
    shot = shot_of(YUV8, BT709, 1)
    for settings in (waived(), DeliverySettings()):
        with open_writer(tmp_path / "out.mp4", shot, settings) as writer:
            writer.write(frames_of(shot)[0])
    first, second = read_log(log_path(tmp_path / "out.mp4"))
    assert first["labels"]["waiver"] and not second["labels"]["waiver"]
    assert first["settings"]["visible_label"] is False
    assert second["files"][0]["sha256"] == hashlib.sha256((tmp_path / "out.mp4").read_bytes()).hexdigest()
    (tmp_path / "bad.json").write_text("[1]\n")
    with pytest.raises(UnreadableMedia):
        read_log(tmp_path / "bad.json")


def test_same_frames_give_the_same_bytes(tmp_path, monkeypatch):
    """Signatures and the time in them differ, so the bytes before signing are compared."""
    monkeypatch.setattr("digidouble.deliver.writer.sign_delivery", lambda *_: Signed((), "not signed"))
    shot = shot_of(YUV8, BT709, 3)
    digests = set()
    for name in ("a.mp4", "b.mp4"):
        with open_writer(tmp_path / name, shot, DeliverySettings()) as writer:
            for frame in frames_of(shot):
                writer.write(frame)
        digests.add(writer.close().files[0].sha256)
    assert len(digests) == 1


def test_log_name_of_a_sequence():
    assert log_path(Path("x/shot.####.exr")).name == "shot.exr.delivery.json"
    assert log_path(Path("x/shot_%04d.png")).name == "shot.png.delivery.json"
    assert log_path(Path("x/shot.mp4")).name == "shot.mp4.delivery.json"

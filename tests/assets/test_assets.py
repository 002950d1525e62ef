"""Hostile and damaged `.persona` and `.perf` files: a clear error of ours, never another, nothing executed, nothing left."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

import digidouble.assets as assets
from digidouble.assets import AssetReader, AssetWriter, expect
from digidouble.errors import (
    AssetError,
    DamagedAsset,
    DigidoubleError,
    NewerSchema,
    OlderSchema,
    OutputError,
    UnreadableMedia,
    UnsafeAsset,
)
from digidouble.performance import load_performance
from digidouble.persona import load_persona
from digidouble.schema.track import wrinkle_log


def written(path: Path, **members: bytes) -> Path:
    with AssetWriter(path, "persona") as w:
        w.add_tensors("a.safetensors", {"x": np.arange(6, dtype=np.float32)})
        for name, data in members.items():
            w.add_bytes(name, data)
        return w.finish({"name": "n"})


def unpacked(file: Path, folder: Path) -> Path:
    zipfile.ZipFile(file).extractall(folder)
    return folder


def repacked(file: Path, out: Path, change=None, manifest=None, links=()) -> Path:
    """The same zip with members changed (name -> bytes or None) and a manifest edited in place, consistently hashed or not."""
    with zipfile.ZipFile(file) as z:
        members = {n: z.read(n) for n in z.namelist()}
    members |= change or {}
    raw = json.loads(members["manifest.json"])
    if manifest:
        manifest(raw)
    members["manifest.json"] = json.dumps(raw).encode()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in members.items():
            if data is not None:
                info = zipfile.ZipInfo(name)
                if name in links:
                    info.external_attr = 0o120777 << 16
                z.writestr(info, data)
    return out


def promise(raw: dict, name: str, data: bytes) -> None:
    raw["members"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_round_trip_and_same_bytes(tmp_path):
    a, b = written(tmp_path / "a.persona", m=b"hello"), written(tmp_path / "b.persona", m=b"hello")
    assert a.read_bytes() == b.read_bytes()
    for path in (a, unpacked(a, tmp_path / "folder")):
        with AssetReader(path, "persona") as r:
            assert r.names() == ["a.safetensors", "m"] and r.bytes_of("m") == b"hello" and r.facts == {"name": "n"}
            np.testing.assert_array_equal(r.tensors("a.safetensors")["x"], np.arange(6))
            with pytest.raises(DamagedAsset, match="missing"):
                r.bytes_of("other")


def test_changed_byte_in_a_folder(tmp_path):
    folder = unpacked(written(tmp_path / "a.persona", m=b"hello"), tmp_path / "f")
    (folder / "m").write_bytes(b"hullo")
    with AssetReader(folder, "persona") as r, pytest.raises(DamagedAsset, match="changed after it was written"):
        r.bytes_of("m")


@pytest.mark.parametrize("form", ["zip", "folder"])
@pytest.mark.parametrize("what", ["missing", "extra", "longer", "no manifest"])
def test_members_that_are_not_as_promised(tmp_path, form, what):
    file = written(tmp_path / "a.persona", m=b"hello")
    change = {"missing": {"m": None}, "extra": {"q": b"x"}, "longer": {"m": b"hello!"}, "no manifest": {}}[what]
    path = repacked(file, tmp_path / "b.persona", change)
    if form == "folder" or what == "no manifest":
        path = unpacked(path, tmp_path / "f")
    if what == "no manifest":
        (path / "manifest.json").unlink()
    with pytest.raises(DamagedAsset):
        AssetReader(path, "persona").bytes_of("m")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\\..\\x", "C:x", "./x", "a//x", "x" * 300])
def test_names_that_leave_the_asset(tmp_path, name):
    file = written(tmp_path / "a.persona")
    path = repacked(file, tmp_path / "b.persona", {name: b"evil"}, lambda raw: promise(raw, name, b"evil"))
    with pytest.raises((UnsafeAsset, DamagedAsset)):
        AssetReader(path, "persona")
    folder = unpacked(file, tmp_path / "f")
    raw = json.loads((folder / "manifest.json").read_text())
    promise(raw, name, b"evil")
    (folder / "manifest.json").write_text(json.dumps(raw))
    with pytest.raises(UnsafeAsset):
        AssetReader(folder, "persona")
    with AssetWriter(tmp_path / "w.persona", "persona") as w, pytest.raises(UnsafeAsset):
        w.add_bytes(name, b"")


def test_links_are_refused(tmp_path):
    file = written(tmp_path / "a.persona", m=b"/etc/hostname")
    with pytest.raises(UnsafeAsset, match="link"):
        AssetReader(repacked(file, tmp_path / "b.persona", links=("m",)), "persona")
    folder = unpacked(file, tmp_path / "f")
    (folder / "m").unlink()
    (folder / "m").symlink_to("/etc/hostname")
    with pytest.raises(UnsafeAsset, match="link"):
        AssetReader(folder, "persona")
    shutil.rmtree(folder)
    unpacked(file, folder)
    (folder / "sub").symlink_to(tmp_path)
    with pytest.raises(UnsafeAsset, match="link"):
        AssetReader(folder, "persona")


def test_size_bombs(tmp_path, monkeypatch):
    file = written(tmp_path / "a.persona", m=bytes(1 << 20))
    assert file.stat().st_size < 20_000
    monkeypatch.setattr(assets, "MAX_MEMBER_BYTES", 1 << 16)
    with pytest.raises(UnsafeAsset, match="expands"):
        AssetReader(file, "persona")
    monkeypatch.undo()
    monkeypatch.setattr(assets, "MAX_TOTAL_BYTES", 1 << 19)
    with pytest.raises(UnsafeAsset, match="expands"):
        AssetReader(file, "persona")
    monkeypatch.undo()
    monkeypatch.setattr(assets, "MAX_MEMBERS", 1)
    with pytest.raises(UnsafeAsset, match="members"):
        AssetReader(file, "persona")


def test_a_zip_that_lies_about_its_sizes(tmp_path):
    """The central directory says 10 bytes, the data are a mebibyte: never read beyond the promise."""
    file = written(tmp_path / "a.persona", m=bytes(1 << 20))

    def lie(raw: dict) -> None:
        raw["members"]["m"]["bytes"] = 10

    path = repacked(file, tmp_path / "b.persona", manifest=lie)
    data = path.read_bytes()
    path.write_bytes(data.replace((1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(AssetError), AssetReader(path, "persona") as r:
        r.bytes_of("m")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip" * 50, b"\x00" * 1000])
def test_no_zip(tmp_path, content):
    (tmp_path / "a.persona").write_bytes(content)
    with pytest.raises(DamagedAsset, match="not a Digidouble"):
        AssetReader(tmp_path / "a.persona", "persona")


def test_absent_truncated_wrong_kind_newer(tmp_path):
    with pytest.raises(UnreadableMedia, match="no such"):
        AssetReader(tmp_path / "none.persona", "persona")
    file = written(tmp_path / "a.persona", m=os.urandom(5000))
    data = file.read_bytes()
    for part in (0.3, 0.7, 0.98):
        (tmp_path / "t.persona").write_bytes(data[: int(part * len(data))])
        with pytest.raises(DamagedAsset):
            AssetReader(tmp_path / "t.persona", "persona")
    with pytest.raises(DamagedAsset, match="is a persona, expected a performance"):
        AssetReader(file, "performance")
    newer = repacked(file, tmp_path / "n.persona", manifest=lambda raw: raw.update(schema_version=6, novelty=[1]))
    with pytest.raises(NewerSchema, match="Update"):
        AssetReader(newer, "persona")
    older = repacked(file, tmp_path / "o.perf", manifest=lambda raw: raw.update(schema_version=1, kind="performance"))
    with pytest.raises(OlderSchema, match="digidouble perform PLATE"):
        AssetReader(older, "performance")


def test_creases_of_the_schema_before_read_as_deep_as_they_were(talk_perf, tmp_path):
    """Schema 3 kept them in even steps of 0.7 / 127 natural log."""
    old = load_performance(
        repacked(talk_perf, tmp_path / "old.perf", manifest=lambda raw: raw.update(schema_version=3))
    )
    new, first = load_performance(talk_perf), old.tracks[0].frames.start
    kept = [new.tracks[0].sample(first + k).wrinkles for k in range(5)]
    read = [old.tracks[0].sample(first + k).wrinkles for k in range(5)]
    assert max(np.abs(k.astype(int)).max() for k in kept) > 3
    for k, r in zip(kept, read, strict=True):
        assert np.abs(wrinkle_log(r) - k * (0.7 / 127)).max() < 0.009, "half a step where steps are widest"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        "[" * 100_000,
        '{"kind": "persona"}',
        '"x"',
        "1e999",
        '{"schema_version": true}',
        '{"schema_version": "3"}',
    ],
)
def test_manifest_that_is_none(tmp_path, text):
    folder = unpacked(written(tmp_path / "a.persona"), tmp_path / "f")
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(DamagedAsset):
        AssetReader(folder, "persona")


def test_unknown_manifest_keys_are_errors(tmp_path):
    file = written(tmp_path / "a.persona")
    with pytest.raises(DamagedAsset, match="malformed"):
        AssetReader(repacked(file, tmp_path / "b.persona", manifest=lambda raw: raw.update(extra=1)), "persona")


def test_expect_refuses_what_is_not_promised():
    good = {"x": np.zeros((2, 3), np.float32)}
    expect(good, {"x": ("float32", (None, 3))}, Path("f"))
    for arrays, shapes in (
        (good, {"x": ("float32", (2, 4))}),
        (good, {"x": ("float32", (2,))}),
        (good, {"x": ("float16", (2, 3))}),
        (good, {"x": ("float32", (2, 3)), "y": ("float32", ())}),
        (good | {"z": np.zeros(1)}, {"x": ("float32", (2, 3))}),
        ({"x": np.array([1, np.nan], np.float32)}, {"x": ("float32", (2,))}),
        ({"x": np.array([1, np.inf], np.float32)}, {"x": ("float32", (2,))}),
    ):
        with pytest.raises(DamagedAsset):
            expect(arrays, shapes, Path("f"))


def test_writer_leaves_nothing_when_it_fails(tmp_path):
    with pytest.raises(RuntimeError), AssetWriter(tmp_path / "a.persona", "persona") as w:
        w.add_bytes("m", b"x")
        raise RuntimeError("stop")
    with AssetWriter(tmp_path / "a.persona", "persona") as w:
        w.add_bytes("m", b"x")  # never finished
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError):
        AssetWriter(tmp_path / "folder", "persona")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        AssetWriter(tmp_path / "file" / "a.persona", "persona")


def test_an_older_file_survives_a_failed_write(tmp_path):
    file = written(tmp_path / "a.persona", m=b"old")
    before = file.read_bytes()
    with pytest.raises(RuntimeError), AssetWriter(file, "persona") as w:
        w.add_bytes("m", b"new")
        raise RuntimeError("stop")
    assert file.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.persona"]


# --- personas and performances that lie ---------------------------------------------------------------------------------


def rewritten(file: Path, out: Path, member: str, change) -> Path:
    """One safetensors member changed, with hash and size kept consistent: only the content's own checks can refuse it."""
    with zipfile.ZipFile(file) as z:
        tensors = load(z.read(member))
    change(tensors)
    data = save({k: np.ascontiguousarray(v) for k, v in tensors.items()})
    return repacked(file, out, {member: data}, lambda raw: promise(raw, member, data))


def poke(name, value):
    def change(t):
        t[name] = t[name].copy()
        t[name].reshape(-1)[0] = value

    return change


@pytest.mark.parametrize(
    ("member", "change"),
    [
        ("shape.safetensors", poke("neutral_cm", np.nan)), ("keys/000.safetensors", poke("albedo", np.inf)),
        ("shape.safetensors", lambda t: t.pop("identity")), ("keys/001.safetensors", lambda t: t.update(extra=np.zeros(3))),
        ("keys/000.safetensors", lambda t: t.update(albedo=t["albedo"][:16])), ("keys/000.safetensors", lambda t: t.update(confidence=t["confidence"][:16])),
        ("keys/001.safetensors", lambda t: t.update(albedo=t["albedo"][::2, ::2], confidence=t["confidence"][::2, ::2])),
        ("shape.safetensors", lambda t: t.update(neutral_cm=t["neutral_cm"].astype(np.float64))),
    ],
)  # fmt: skip
def test_persona_arrays_are_checked(persona_file, tmp_path, member, change):
    with pytest.raises(DamagedAsset):
        load_persona(rewritten(persona_file, tmp_path / "b.persona", member, change))


@pytest.mark.parametrize(
    ("member", "change"),
    [
        ("tracks/1/facts.safetensors", poke("rotation", np.nan)), ("tracks/1/facts.safetensors", poke("frames", -5)),
        ("tracks/1/facts.safetensors", poke("frames", 1)), ("tracks/1/facts.safetensors", lambda t: t.pop("presence")),
        ("tracks/1/facts.safetensors", lambda t: t.update(frames=np.array([0, 10**12]))),
        ("tracks/1/000000.safetensors", poke("points_px", np.inf)), ("tracks/1/000000.safetensors", lambda t: t.update(matte=t["matte"][:5])),
        ("tracks/1/000000.safetensors", lambda t: t.update({k: v[:7] for k, v in t.items()})),
    ],
)  # fmt: skip
def test_performance_arrays_are_checked(talk_perf, tmp_path, member, change):
    with pytest.raises(DamagedAsset):
        perf = load_performance(rewritten(talk_perf, tmp_path / "b.perf", member, change))
        for i in perf.tracks[0].frames:
            perf.tracks[0].sample(i)


BAD = [None, 5, "x", [], {}, [1], True, -1, 1e308, float("inf"), float("nan"), "9" * 5000, {"a": 1}, [[]]]


def places(tree, at=()):
    """Every path in a JSON tree."""
    yield at
    if isinstance(tree, dict):
        for k, v in tree.items():
            yield from places(v, (*at, k))
    elif isinstance(tree, list):
        for k, v in list(enumerate(tree))[:2]:
            yield from places(v, (*at, k))


def put(tree, at, value):
    for k in at[:-1]:
        tree = tree[k]
    tree[at[-1]] = value


@pytest.mark.parametrize("kind", ["persona", "perf"])
def test_facts_of_every_wrong_type(kind, request, tmp_path):
    """Each value of the facts replaced by each kind of nonsense: it loads, or an error of ours says no."""
    file = request.getfixturevalue("persona_file" if kind == "persona" else "talk_perf")
    folder = unpacked(file, tmp_path / "f")
    original, escaped = (folder / "manifest.json").read_text(), []
    for at in [p for p in places(json.loads(original)["facts"]) if p]:
        for bad in BAD:
            raw = json.loads(original)
            put(raw["facts"], at, bad)
            (folder / "manifest.json").write_text(json.dumps(raw))
            try:
                (load_persona if kind == "persona" else load_performance)(folder)
            except DigidoubleError:
                continue
            except Exception as e:
                escaped.append((at, str(bad)[:20], f"{type(e).__name__}: {e}"[:90]))
    assert not escaped, f"{len(escaped)}: " + "\n".join(map(str, escaped[:12]))


def same(a, b) -> bool:
    import dataclasses

    if isinstance(a, np.ndarray):
        return a.shape == b.shape and bool((a == b).all())
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if dataclasses.is_dataclass(a):
        return all(
            same(getattr(a, f.name), getattr(b, f.name))
            for f in dataclasses.fields(a)
            if f.name not in ("store", "sha256", "file")
        )
    return a == b


def use(load_it, path):
    """Load and read everything there is."""
    it = load_it(path)
    if load_it is load_performance:
        return it, tuple(t.sample(t.frames.start) for t in it.tracks)
    return it


@pytest.mark.parametrize("kind", ["persona", "perf"])
@pytest.mark.parametrize("where", ["anywhere", "directory", "manifest"])
def test_mutated_bytes(kind, where, request, tmp_path):
    """Seeded mutations of one to four bytes: refused by an error of ours, or the same content as before."""
    file = request.getfixturevalue("persona_small" if kind == "persona" else "perf_small")
    load_it = load_persona if kind == "persona" else load_performance
    whole, path = use(load_it, file), tmp_path / f"m.{kind}"
    folder = unpacked(file, tmp_path / "f")
    target = folder / "manifest.json" if where == "manifest" else path
    data = target.read_bytes() if where == "manifest" else file.read_bytes()
    low = data.rindex(b"PK\x01\x02", 0, len(data)) - 2000 if where == "directory" else 0
    rng, refused, escaped = np.random.default_rng(45438), 0, []
    for _ in range(200 if where == "anywhere" else 120):
        changed = bytearray(data)
        for _ in range(rng.integers(1, 5)):
            changed[rng.integers(max(low, 0), len(changed))] = rng.integers(0, 256)
        target.write_bytes(changed)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                got = use(load_it, folder if where == "manifest" else path)
        except DigidoubleError:
            refused += 1
        except Exception as e:
            escaped.append(f"{type(e).__name__}: {e}"[:120])
        else:
            # A manifest in a folder has no hash of its own: its facts may change and still be valid.
            assert where == "manifest" or same(whole, got)
    assert not escaped, f"{len(escaped)}: " + "\n".join(escaped[:10])
    assert refused > 20


@pytest.fixture(scope="module")
def persona_small(persona_b, tmp_path_factory) -> Path:
    from dataclasses import replace

    from digidouble.persona import save_persona

    keys = tuple(
        replace(
            k, albedo=np.ascontiguousarray(k.albedo[::6, ::6]), confidence=np.ascontiguousarray(k.confidence[::6, ::6])
        )
        for k in persona_b.keys[:2]
    )
    return save_persona(replace(persona_b, keys=keys), tmp_path_factory.mktemp("small") / "s.persona")


@pytest.fixture(scope="module")
def perf_small(tmp_path_factory) -> Path:
    from synthetic import TruthPerceiver, person, shoot, still

    from digidouble.performance import analyse

    shot = shoot([still(person(3), 3, (40, 28), 3.5)], (80, 72))
    return analyse(shot.footage(), tmp_path_factory.mktemp("small") / "s.perf", perceiver=TruthPerceiver(shot))

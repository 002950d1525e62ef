"""The process that is fed damaged files. It may crash, hang or eat memory: `fuzz.py` watches it.

Standard input: numbers of inputs, one a line. Standard output: one JSON object for each, when it was answered.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import shutil
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import numpy as np
from fuzz_mutators import mutated
from fuzz_seeds import CleanPictures
from fuzz_targets import SHARES, TARGETS, Place, laid_out

GUARD_BYTES = 4 << 30  # a runaway ends here; more than 1 GB is reported anyway
_WRITES = {"os.rename": 1, "os.mkdir": 0, "os.remove": 0, "os.rmdir": 0, "os.link": 1, "os.symlink": 1,
           "os.truncate": 0, "os.chmod": 0, "os.utime": 0}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What became of an input. `outcome`: "read", "refused", or the finding: "crash", "memory", "outside"."""

    number: int
    kind: str
    name: str
    outcome: str
    said: str
    seconds: float
    peak_mb: int


class Watch:
    """Notes every path that Python code writes to outside the folders allowed (native code is seen by `tree`)."""

    def __init__(self, root: Path) -> None:
        self._allowed: tuple[str, ...] = (os.devnull, "/proc/self/")
        self.outside: list[str] = []
        self._root, self._on = root, False
        sys.addaudithook(self._hook)

    def begin(self, *allowed: Path) -> None:
        self._allowed = (os.devnull, "/proc/self/", *(str(a) for a in allowed))
        self.outside, self._on = [], True

    def end(self) -> None:
        self._on = False

    def _hook(self, event: str, arguments: tuple) -> None:
        if not self._on:
            return
        paths: list = []
        if event in ("os.remove", "os.rmdir") and arguments[1] >= 0:  # relative to an open folder, as rmtree does it
            paths = [Path(f"/proc/self/fd/{arguments[1]}").readlink() / os.fsdecode(arguments[0])]
        elif (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ):
            paths = [arguments[0]]
        elif event in _WRITES:
            paths = list(arguments[: _WRITES[event] + 1]) if event == "os.rename" else [arguments[_WRITES[event]]]
        for path in paths:
            if isinstance(path, (str, bytes, os.PathLike)):
                full = os.path.realpath(os.fsdecode(path))
                if not full.startswith(self._allowed):
                    self.outside.append(f"{event} {full[:200]}")


def tree(root: Path, but: tuple[Path, ...]) -> dict[str, tuple[int, int]]:
    """Everything below `root`, with size and time, except below `but`."""
    found = {}
    for folder, names, files in os.walk(root):
        names[:] = [n for n in names if Path(folder, n) not in but]
        for name in (*names, *files):
            path = Path(folder, name)
            facts = path.lstat()
            found[str(path)] = (facts.st_size, facts.st_mtime_ns) if name in files else (0, 0)
    return found


def answer(number: int, seed: str, good: Path, root: Path, watch: Watch) -> Answer:
    """Make input `number` of `seed`, hand it over, and see what happens."""
    from digidouble.errors import DigidoubleError

    draw = Random(f"{seed}:{number}")
    kind = draw.choices(list(SHARES), list(SHARES.values()))[0]
    files = sorted(p for p in (good / kind).rglob("*") if p.is_file())
    file = draw.choice(files)
    others = [draw.choice(files).read_bytes()]
    data = mutated(draw, file.name, file.read_bytes(), others)
    home = root / "home" / "a" / "b"
    place = Place(good, home / "in", home / "out")
    for folder in (place.given, place.out, root / "tmp"):
        shutil.rmtree(folder, ignore_errors=True)
    place.out.mkdir(parents=True)
    (root / "tmp").mkdir()
    given = laid_out(place, kind, str(file.relative_to(good / kind)), data)
    os.chdir(home)
    before = tree(root, (place.out, root / "tmp"))
    outcome, said = "read", ""
    Path("/proc/self/clear_refs").write_text("5")
    started = time.perf_counter()
    watch.begin(place.out, root / "tmp", Path(os.environ["NUMBA_CACHE_DIR"]).resolve())
    try:
        TARGETS[kind](place, given, draw)
    except DigidoubleError as error:
        outcome, said = "refused", f"{type(error).__name__}: {error}"[:300]
    except BaseException:
        outcome, said = "crash", traceback.format_exc(limit=-6)
    watch.end()
    seconds, peak = time.perf_counter() - started, _peak_mb()
    after = tree(root, (place.out, root / "tmp"))
    outside = watch.outside + [p for p in after.keys() | before.keys() if after.get(p) != before.get(p)]
    outside += [f"left {p}" for p in (root / "tmp").iterdir()]
    outside += [f"half-written {p}" for p in place.out.rglob(".*partial*")] if outcome != "read" else []
    if outcome != "crash" and peak > 1024:
        outcome, said = "memory", f"{peak} MB; {said}"
    if outcome != "crash" and outside:
        outcome, said = "outside", "; ".join(outside[:5])
    return Answer(number, kind, file.name, outcome, said, round(seconds, 3), peak)


def _peak_mb() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


class Everywhere:
    """In place of the network that finds people: weights are fetched into the home that is watched."""

    def matte_256(self, rgb8):
        return np.ones((256, 256), np.float32)


def main(seed: str, good: Path, root: Path) -> None:
    faulthandler.enable()
    (root / "tmp").mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "TMPDIR": str(root / "tmp"),
        "HOME": str(root / "home"),
        "DIGIDOUBLE_CONFIG": str(good.parent / "config"),
    }
    os.environ.setdefault("NUMBA_CACHE_DIR", str(good.parent / "numba"))  # beside what is watched
    import digidouble.perception.content as content
    import digidouble.pipeline as pipeline
    from digidouble.deliver.certificate import credentials

    credentials()  # the development chain is made on first use, where settings lie

    pipeline.PersonSegmenter = Everywhere  # type: ignore[attr-defined,misc]
    content.Session = lambda *_, **__: CleanPictures()  # type: ignore[attr-defined]
    resource.setrlimit(resource.RLIMIT_DATA, (GUARD_BYTES, GUARD_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    watch = Watch(root)
    reply = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        reply.write(json.dumps(asdict(answer(int(line), seed, good, root, watch))) + "\n")
        reply.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))

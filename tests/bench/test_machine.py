from __future__ import annotations

import sys

import numpy as np
import pytest

from digidouble.bench.machine import machine, run_digidouble, versions
from digidouble.errors import DigidoubleError


def test_the_machine_and_versions_are_named():
    assert machine()["cores"] >= 1 and machine()["cpu"] is not None
    assert versions()["numpy"] == np.__version__


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_a_process_is_measured_and_not_its_parent(tmp_path):
    weight = np.ones(60_000_000)  # 480 MB in this process, which must not count
    run = run_digidouble(["--version"], 1, tmp_path)
    assert run.stdout.startswith("digidouble ") and run.cpu_s > 0 and 0 < run.wall_s < 60
    assert 20 < run.peak_mb < 400 < weight.nbytes / 1e6


def test_a_failed_process_says_why(tmp_path):
    with pytest.raises(DigidoubleError, match="no-such-command"):
        run_digidouble(["no-such-command"], 1, tmp_path)

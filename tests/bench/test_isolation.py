"""Judges stay judges: what measures the product is never part of it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import digidouble

PACKAGE = Path(digidouble.__file__).parent
REFEREES = {"dlib", "face_recognition_models"}


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in REFEREES:
            names.add(node.value)  # find_spec("..."), import_module("...")
    return names


def test_only_the_bench_opens_the_referees():
    for file in PACKAGE.rglob("*.py"):
        part = file.relative_to(PACKAGE).parts
        opened = {n for n in imported(file) if n.split(".")[0] in REFEREES}
        if part == ("bench", "referees.py"):
            assert opened, "the test no longer sees the one import there is"
        else:
            assert not opened, f"{'/'.join(part)} opens {opened}"


def test_only_the_command_line_imports_the_bench():
    for file in PACKAGE.rglob("*.py"):
        part = file.relative_to(PACKAGE).parts
        if part[0] != "bench" and part != ("app", "bench.py"):
            assert not any(n.startswith("digidouble.bench") for n in imported(file)), file


def test_the_product_never_judges_itself():
    """The referees' networks are not those of the product, and the cores measure without the product's perception."""
    for name in ("landmarks", "gaze", "pictures", "statistics", "referees", "protocols/measures", "observe"):
        used = imported(PACKAGE / "bench" / f"{name}.py")
        assert not any(n.startswith(("digidouble.perception", "digidouble.performance")) for n in used)
        assert name == "referees" or not any(n.startswith("digidouble.weights") for n in used)


def test_only_the_bench_asks_for_a_referees_weights():
    from digidouble.weights import registry

    names = {e.name for e in registry("referee")}
    for file in PACKAGE.rglob("*.py"):
        part = file.relative_to(PACKAGE).parts
        said = {n.value for n in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(n, ast.Constant)} & names
        if part in (("bench", "referees.py"), ("weights", "entries.py")):
            assert said == names
        else:
            assert not said, f"{'/'.join(part)} names {said}"


def test_the_command_line_starts_without_the_referees():
    code = (
        "import sys, digidouble.app.cli; print([m for m in sys.modules if m.startswith(('dlib', 'digidouble.bench'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""The package's shape: what it exports, what importing it costs, and which way its imports point."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import digidouble

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "digidouble"
STAGES = {"acting", "capture", "persona", "performance", "speech", "render", "refine", "composite", "deliver"}
# Lower numbers may not import higher ones; design, section 1.
LAYERS = {"errors": 0, "schema": 1, "weights": 2, "assets": 2, "footage": 3, "perception": 3}
LAYERS |= dict.fromkeys(STAGES, 4) | {"pipeline": 5, "farm": 6, "campaign": 7, "bench": 8, "app": 9}
HEAVY = ("torch", "onnx", "onnxruntime", "cv2", "numba", "av", "numpy", "PIL", "scenedetect", "typer", "ray", "gradio")
PUBLIC = {
    "CampaignResult", "check_campaign", "run_campaign",
    "CaptureSettings", "Consent", "DeliveredFiles", "DeliverySettings", "DigidoubleError", "Footage", "FootageSettings",
    "FrameRange", "FrameRate", "LookSettings", "PerformSettings", "Performance", "Persona", "PersonaSettings",
    "RenderResult", "RenderSettings", "Shot", "__version__", "build_persona", "capture_person", "load_performance",
    "load_persona", "open_footage", "perform", "read_consent", "render_shot", "save_persona",
}  # fmt: skip


def imported(file: Path) -> set[str]:
    """Folders and files of the package that a file imports, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            module = node.module or ""
            names = [f"{module}.{a.name}" for a in node.names] if module == "digidouble" else [module]
        found |= {n.split(".")[1] for n in names if n.startswith("digidouble.")}
    return found


def test_public_surface():
    assert set(digidouble.__all__) == PUBLIC
    assert digidouble.__all__ == sorted(digidouble.__all__)
    for name in PUBLIC:
        assert getattr(digidouble, name) is not None
    assert digidouble.open_footage is __import__("digidouble.footage", fromlist=["open_footage"]).open_footage
    assert set(digidouble.__all__) <= set(dir(digidouble))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = digidouble.no_such_name


def test_importing_the_package_is_light():
    code = f"import digidouble, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_neither_the_command_line_nor_a_render_loads_torch():
    code = "import digidouble.app.cli, digidouble.farm, sys; print([m for m in ('torch', 'ray', 'gradio') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_imports_point_one_way():
    wrong = []
    for file in sorted(PACKAGE.rglob("*.py")):
        here = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if here in ("__init__", "__main__"):
            continue
        for there in imported(file) - {here, "__version__"}:
            if (
                LAYERS[there] > LAYERS[here]
                or (here in STAGES and there in STAGES)
                or {here, there} == {"footage", "perception"}
            ):
                wrong.append(f"{file.relative_to(PACKAGE)} imports {there}")
    assert wrong == []


def test_every_folder_has_a_place():
    folders = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file()}
    assert folders <= set(LAYERS), folders - set(LAYERS)


def test_import_linter_agrees():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c(['--no-cache'])"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr

"""The recipes' own modules, for their tests."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

TRAINING = Path(__file__).parents[2] / "training"


def load(recipe: str, *names: str) -> list[ModuleType]:
    """Modules of training/RECIPE under their own short names, leaving no trace for the other recipes' tests."""
    folder, before = str(TRAINING / recipe), set(sys.modules)
    sys.path.insert(0, folder)
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(folder):
                del sys.modules[name]

"""Modules of bench/, which is no package and whose names are also those of packages of tests."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

BENCH = Path(__file__).resolve().parents[2] / "bench"


def load(name: str) -> ModuleType:
    """Import `bench/NAME.py`; what it imports from there must have been loaded before."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def load_part(name: str) -> ModuleType:
    """Import `bench/plane/NAME.py`, a module of a package; what it imports from bench/ must have been loaded before."""
    if "plane" not in sys.modules:
        home = BENCH / "plane"
        spec = importlib.util.spec_from_file_location(
            "plane", home / "__init__.py", submodule_search_locations=[str(home)]
        )
        assert spec is not None
        sys.modules["plane"] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"plane.{name}")

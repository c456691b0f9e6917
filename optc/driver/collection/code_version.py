"""Which sources make a template's kernels: a row outlives changes elsewhere, and no change here."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from functools import cache
from pathlib import Path

from optc.backends.tvm.template import Template

_PACKAGE = "optc.backends.tvm"


@cache
def code_of(template: Template) -> str:
    """A hash of the modules of this backend that the template's module imports, directly or not."""
    digest = hashlib.sha256()
    for name in sorted(_closure(type(template).__module__)):
        digest.update(_source(name).encode())
    return digest.hexdigest()[:16]


def _closure(module: str) -> set[str]:
    found, following = set(), [module, f"{_PACKAGE}.codegen"]
    while following:
        name = following.pop()
        if name not in found and name.startswith(_PACKAGE):
            found.add(name)
            following += _imported(name)
    return found


@cache
def _imported(module: str) -> tuple[str, ...]:
    names = []
    for node in ast.walk(ast.parse(_source(module))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(_PACKAGE):
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.startswith(_PACKAGE)]
    return tuple(name for name in names if _path(name) is not None)


@cache
def _source(module: str) -> str:
    path = _path(module)
    return path.read_text(encoding="utf-8") if path is not None else ""


@cache
def _path(module: str) -> Path | None:
    loaded = sys.modules.get(module)
    if loaded is not None and getattr(loaded, "__file__", None):
        return Path(str(loaded.__file__))
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None else None

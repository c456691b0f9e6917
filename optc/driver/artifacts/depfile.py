"""What an artifact is made from, as a file that Make and Ninja read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from optc.artifact.manifest import MANIFEST
from optc.errors import OptcError


def sources_of(model: str | Path, target: str, others: Iterable[str | Path | None] = ()) -> list[Path]:
    """The files that a compile reads: the model, its external weights, a target file, and all in `others`.

    Args:
        model: `.onnx`, `.pt2`, or a folder.
        target: a name, or the path of a target file.
        others: files or folders, such as calibration data.
    """
    found = [] if os.path.isdir(model) else [Path(model), *_external(Path(model))]
    for each in (model if not found else None, target, *others):
        if each is not None and os.path.isdir(each):
            found += sorted(path for path in Path(each).rglob("*") if path.is_file())
        elif each is not None and os.path.isfile(each):
            found.append(Path(each))
    return list(dict.fromkeys(path.absolute() for path in found))


def _external(model: Path) -> Iterator[Path]:
    """The files beside an ONNX file that hold its weights."""
    if model.suffix != ".onnx":
        return
    import onnx
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    try:
        proto = onnx.load(model, load_external_data=False)
    except Exception:  # whatever is wrong with the file, its compile says
        return
    for tensor in _get_all_tensors(proto):
        if uses_external_data(tensor):
            places = (model.parent / each.value for each in tensor.external_data if each.key == "location")
            yield from (path for path in places if path.resolve().is_relative_to(model.parent.resolve()))


def depfile_text(artifact: Path, sources: Iterable[Path]) -> str:
    """A rule from the artifact's manifest to its sources, and an empty rule for each, so that none has to exist."""
    names = [_escaped(path) for path in sources]
    lines = [f"{_escaped(artifact.absolute() / MANIFEST)}: \\", *(f"  {name} \\" for name in names[:-1])]
    return "\n".join([*lines, *(f"  {name}" for name in names[-1:]), "", *(f"{name}:" for name in names), ""])


def write_depfile(path: Path, artifact: Path, sources: Iterable[Path]) -> None:
    """Write `depfile_text`. Raises OptcError when that fails."""
    try:
        path.write_text(depfile_text(artifact, sources))
    except OSError as fault:
        raise OptcError("the depfile cannot be written", where=str(path), why=fault.strerror) from fault


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace(" ", "\\ ").replace("#", "\\#").replace("$", "$$")

"""Arrays that the user gives as files and gets back as files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np

from optc.errors import OptcError, UsageError
from optc.numpy_files import ArrayFault, ArrayFile

input_option = click.option(
    "--input", "inputs", multiple=True, metavar="[NAME=]FILE", help="A .npy file for an input, or a .npz of several."
)


def read_inputs(words: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of `--input`: `x=file.npy`, `x=file.npz` (its array `x`, or its only one), or `file.npz` for all.

    Raises:
        UsageError: a name is missing or given twice.
        OptcError: a file cannot be read or holds no arrays.
    """
    arrays: dict[str, np.ndarray] = {}
    for word in words:
        name, separator, file = word.partition("=")
        if not separator:
            name, file = "", word
        found = _load(Path(file))
        if isinstance(found, np.ndarray):
            if not name:
                raise UsageError(f"'{word}' names no input", where="--input", hint=f"--input NAME={file}")
            chosen = {name: found}
        elif not name:
            chosen = found
        elif name in found or len(found) == 1:
            chosen = {name: found[name] if name in found else next(iter(found.values()))}
        else:
            raise UsageError(f"{file} holds no array '{name}'", where="--input", why=f"it holds {', '.join(found)}")
        for key in chosen:
            if key in arrays:
                raise UsageError(f"--input gives '{key}' twice")
        arrays.update(chosen)
    return arrays


def _load(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    try:
        arrays = ArrayFile(path)
        return dict(arrays) if arrays.is_archive else arrays[""]
    except OSError as error:
        why = error.strerror or str(error)
        raise OptcError("the input file cannot be read", where=str(path), why=why) from error
    except ArrayFault as fault:
        hint = "write it with numpy.save or numpy.savez"
        raise OptcError("the input file holds no NumPy array", where=str(path), why=str(fault), hint=hint) from fault


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `.npz` (any number of arrays), or `.npy` (one).

    Raises:
        UsageError: another suffix, or several arrays for a .npy.
        OptcError: the file cannot be written.
    """
    if path.suffix not in (".npz", ".npy") or (path.suffix == ".npy" and len(arrays) != 1):
        count = f"there are {len(arrays)} outputs" if path.suffix == ".npy" else None
        raise UsageError(f"the outputs cannot go to '{path.name}'", where="-o", why=count, hint="give a name in .npz")
    try:
        if path.suffix == ".npy":
            np.save(path, next(iter(arrays.values())), allow_pickle=False)
        else:
            _save_all(path, arrays)
    except OSError as error:
        raise OptcError("the outputs cannot be written", where=str(path), why=error.strerror) from error


def _save_all(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """An .npz; numpy.savez takes the names as keywords and so cannot hold one called `file`."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def statistics(array: np.ndarray) -> dict[str, object]:
    """Element type, shape, and for numbers the least, largest and mean finite value and the number of others."""
    facts: dict[str, object] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if array.dtype.kind not in "fiub" and "float" not in array.dtype.name:
        return facts
    values = array.astype(np.float64)
    finite = values[np.isfinite(values)]
    if finite.size:
        facts.update(min=float(finite.min()), max=float(finite.max()), mean=float(finite.mean()))
    return {**facts, "not_finite": int(values.size - finite.size)}

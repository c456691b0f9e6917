"""Calibration data: samples for a model's inputs, read again and again in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from optc.driver.quantization.images import SUFFIXES, Preprocessing, read_image
from optc.errors import OptcError, UsageError
from optc.ir.core import Value
from optc.numpy_files import ArrayFault, ArrayFile

FEWEST = 8
"""Samples without which ranges would be guesses."""

BATCH = 32
"""Samples that run together where the model's first dimension is free."""

Batch = dict[str, np.ndarray]


class Data:
    """Samples for a model.

    Args:
        source: a folder of images or `.npy` files (one sample each), an `.npz` or `.npy` with samples along the first
            axis, or an iterable of dicts from input names to arrays with a batch axis. What can be iterated only
            once is kept, up to the limit.
        inputs: the model's.
        limit: samples read at most; None for all.
        preprocessing: of images.

    Raises:
        OptcError: there are too few samples, or a file cannot be read; says which.
        UsageError: they do not fit the inputs.
    """

    def __init__(
        self,
        source: str | Path | Iterable[Mapping[str, Any]],
        inputs: Sequence[Value],
        *,
        limit: int | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        self.inputs = list(inputs)
        self.limit = limit
        self.label = str(source) if isinstance(source, str | Path) else "the calibration data"
        self._preprocessing = preprocessing or Preprocessing()
        extent = (self.inputs[0].tensor_type.shape or (None,))[0] if self.inputs else None
        self.batch = extent if isinstance(extent, int) else BATCH
        self._read, self.samples = self._open(source)
        if self.samples < FEWEST:
            raise OptcError(
                "there are too few calibration samples",
                where=self.label,
                why=f"{self.samples} found, at least {FEWEST} needed; some hundreds are usual",
            )

    def batches(self) -> Iterator[Batch]:
        """The samples in batches of `batch`; what does not fill one is left out where the model fixes its extent."""
        for batch in self._read():
            yield {value.name: self._fit(batch[value.name], value) for value in self.inputs}

    def _open(self, source: Any) -> tuple[Callable[[], Iterator[Batch]], int]:
        if not isinstance(source, str | Path):
            return self._of_iterable(source)
        path = Path(source)
        if path.is_dir():
            return self._of_folder(path)
        if path.suffix in (".npz", ".npy") and path.exists():
            return self._of_arrays(path)
        why = "it is no folder, .npz or .npy file" if path.exists() else "it does not exist"
        raise OptcError("the calibration data cannot be read", where=str(path), why=why)

    def _of_iterable(self, source: Iterable[Mapping[str, Any]]) -> tuple[Callable[[], Iterator[Batch]], int]:
        kept: list[Batch] = []
        count = 0
        for number, item in enumerate(source):
            if missing := [value.name for value in self.inputs if value.name not in item]:
                raise UsageError(f"sample {number + 1} lacks the input '{missing[0]}'", where=self.label)
            kept.append({value.name: np.asarray(item[value.name]) for value in self.inputs})
            count += len(kept[-1][self.inputs[0].name])
            if self.limit is not None and count >= self.limit:
                break
        return lambda: iter(kept), count

    def _of_arrays(self, path: Path) -> tuple[Callable[[], Iterator[Batch]], int]:
        try:
            arrays = ArrayFile(path, mapped=True)
            chosen = {value.name: value.name for value in self.inputs if value.name in arrays}
            others = [name for name in arrays if name not in LABELS]
            if not chosen and len(self.inputs) == 1 and len(others) == 1:
                chosen = {self.inputs[0].name: others[0]}
            if missing := [value.name for value in self.inputs if value.name not in chosen]:
                held = ", ".join(f"'{name}'" for name in arrays) or "nothing"
                why = f"it holds {held}"
                raise UsageError(f"there are no samples for the input '{missing[0]}'", where=str(path), why=why)
            samples = {name: arrays[stored] for name, stored in chosen.items()}
        except (OSError, ArrayFault) as fault:
            raise OptcError("the calibration data cannot be read", where=str(path), why=str(fault)) from fault
        if scalars := [name for name, array in samples.items() if not array.ndim]:
            raise UsageError(f"the samples for '{scalars[0]}' are one number", where=str(path))
        count = min(len(array) for array in samples.values())
        count = count if self.limit is None else min(count, self.limit)
        return lambda: self._slices(samples, count), count

    def _slices(self, arrays: Mapping[str, np.ndarray], count: int) -> Iterator[Batch]:
        for start in self._starts(count):
            end = min(start + self.batch, count)
            yield {name: np.asarray(array[start:end]) for name, array in arrays.items()}

    def _of_folder(self, path: Path) -> tuple[Callable[[], Iterator[Batch]], int]:
        if len(self.inputs) != 1:
            names = ", ".join(f"'{value.name}'" for value in self.inputs)
            raise UsageError("a folder feeds one input", where=str(path), why=f"the model has {names}", hint="use .npz")
        files = sorted(item for item in path.iterdir() if item.suffix.lower() in (*SUFFIXES, ".npy"))
        files = list(islice(files, self.limit))
        return lambda: self._files(files), len(files)

    def _files(self, files: Sequence[Path]) -> Iterator[Batch]:
        for start in self._starts(len(files)):
            group = files[start : start + self.batch]
            samples = [self._file(item) for item in group]
            for item, sample in zip(group, samples, strict=True):
                if sample.shape != samples[0].shape:
                    why = f"its shape is {sample.shape}, that of '{group[0].name}' is {samples[0].shape}"
                    raise OptcError("calibration samples differ in shape", where=str(item), why=why, hint="give a size")
            yield {self.inputs[0].name: np.stack(samples)}

    def _file(self, path: Path) -> np.ndarray:
        shape = self.inputs[0].tensor_type.shape or ()
        if path.suffix != ".npy":
            place = 1 if self._preprocessing.layout == "nchw" else -1
            channels = shape[place] if len(shape) == 4 else 3
            return read_image(path, self._preprocessing, 1 if channels == 1 else 3)
        try:
            sample = ArrayFile(path).only
        except (OSError, ArrayFault) as fault:
            raise OptcError("a calibration sample cannot be read", where=str(path), why=str(fault)) from fault
        return sample[0] if sample.ndim == len(shape) and sample.shape[0] == 1 else sample

    def _starts(self, count: int) -> range:
        fixed = isinstance((self.inputs[0].tensor_type.shape or (None,))[0], int)
        return range(0, count - self.batch + 1 if fixed else count, self.batch)

    def _fit(self, array: np.ndarray, value: Value) -> np.ndarray:
        type = value.tensor_type
        wanted = type.shape or ()
        pairs = list(zip(array.shape, wanted, strict=False))
        if array.ndim != len(wanted) or any(isinstance(want, int) and have != want for have, want in pairs):
            text = "x".join(str(dim) for dim in wanted)
            why = f"the data have {'x'.join(map(str, array.shape))}, the model takes {text}"
            raise UsageError(f"the samples for '{value.name}' have another shape", where=self.label, why=why)
        if array.dtype == type.dtype.numpy:
            return array
        if not np.can_cast(array.dtype, type.dtype.numpy, "same_kind"):
            why = f"the data are {array.dtype}, the model takes {type.dtype.numpy_name}"
            raise UsageError(f"the samples for '{value.name}' have another element type", where=self.label, why=why)
        return array.astype(type.dtype.numpy)


LABELS = ("labels", "label", "y")
"""What arrays of an `.npz` that hold the right classes are called."""


def read_labels(path: Path) -> np.ndarray:
    """The right class of each sample: an `.npy`, the labels of an `.npz`, or a text file with a number a line.

    Raises:
        OptcError: the file cannot be read, or holds something else.
    """
    try:
        if path.suffix in (".npy", ".npz"):
            arrays = ArrayFile(path)
            names = [name for name in (*LABELS, *arrays) if name in arrays]
            if not names:
                raise ArrayFault("it holds no array")
            labels = arrays[names[0]]
        else:
            labels = np.loadtxt(path, dtype=np.int64)
        return np.asarray(labels, np.int64).reshape(-1)
    except OSError as fault:
        raise OptcError("the labels cannot be read", where=str(path), why=fault.strerror or str(fault)) from fault
    except (ValueError, ArrayFault) as fault:
        raise OptcError("the labels cannot be read", where=str(path), why=str(fault)) from fault

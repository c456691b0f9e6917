"""A folder of Parquet part files that only grows: each part appears whole or not at all, and no row counts twice."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optc.costmodel.kernels.schema import SCHEMA_VERSION, Row, arrow_schema, digest
from optc.costmodel.state import Rates
from optc.errors import OptcError

if TYPE_CHECKING:
    import pyarrow

SUFFIX = ".parquet"
_TEMPORARY = ".part-"
MODELS = "models"  # the folder of what models consist of
STATES = "states"  # the folder of how fast machines were while their kernels were measured


class RowStore:
    """The rows of one folder.

    A part is written under a temporary name, flushed to the disk and renamed, so that a process killed at any moment
    leaves either the whole part or none of it. Parts are named after their rows' keys: writing one again changes
    nothing.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open or make a store. Raises OptcError when the folder cannot be made."""
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptcError("the store cannot be made", where=str(folder), why=error.strerror) from error

    def parts(self) -> list[Path]:
        """The part files, in a fixed order."""
        return sorted(path for path in self.folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))

    def append(self, rows: Sequence[Row]) -> Path | None:
        """Add rows as one part; None where there are none.

        Raises:
            OptcError: the part cannot be written.
        """
        if not rows:
            return None
        import pyarrow
        from pyarrow import parquet

        table = pyarrow.Table.from_pylist([row.values() for row in rows], schema=arrow_schema())
        path = self.folder / f"{digest(sorted(row.key for row in rows))[:24]}{SUFFIX}"
        temporary = self.folder / f"{_TEMPORARY}{os.getpid()}-{path.name}"
        try:
            with temporary.open("wb") as file:
                parquet.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise OptcError("rows cannot be stored", where=str(path), why=error.strerror) from error
        return path

    def table(self, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """All rows, each key once (the first in the order of the parts).

        Args:
            columns: only these; None for all.

        Raises:
            OptcError: a part is damaged, foreign, or of another schema version.
        """
        import pyarrow

        wanted = None if columns is None else list(dict.fromkeys(["key", *columns]))
        tables = [read_part(path, wanted) for path in self.parts()]
        if not tables:
            schema = arrow_schema()
            return (schema if wanted is None else pyarrow.schema([schema.field(c) for c in wanted])).empty_table()
        return _unique(pyarrow.concat_tables(tables))

    def rows(self) -> Iterator[Row]:
        """All rows as objects."""
        for record in self.table().to_pylist():
            yield Row(**record)

    def keys(self) -> set[str]:
        """The keys of all rows."""
        return set(self.table(["key"]).column("key").to_pylist())

    def note_model(self, name: str, pipeline: int, workloads: Sequence[tuple[str, str]]) -> None:
        """Remember of which kernels a model consists under one pipeline: (workload, class) of each, in order."""
        self._note(MODELS, f"{name}-{pipeline}", {"model": name, "pipeline": pipeline, "workloads": workloads})

    def note_state(self, fingerprint: str, rates: Rates) -> None:
        """Remember the fastest rates of a machine beside kernels that were measured on it just then."""
        self._note(STATES, f"{fingerprint}-{time.time_ns()}", {"fingerprint": fingerprint, "rates": rates.to_dict()})

    def _note(self, kind: str, name: str, content: dict[str, Any]) -> None:
        """A file of JSON that appears whole."""
        folder = self.folder / kind
        folder.mkdir(exist_ok=True)
        temporary = folder / f"{_TEMPORARY}{os.getpid()}-{name}"
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(folder / f"{name}.json")

    def sweep(self) -> None:
        """Remove what killed writers left behind. Only while no other process writes."""
        for path in self.folder.glob(f"{_TEMPORARY}*"):
            with contextlib.suppress(OSError):
                path.unlink()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only writing process while the context lasts; the system releases the lock of a killed one.

        The lock is of the process alone: workers that it forked and that outlive it do not keep it.

        Raises:
            OptcError: another process holds it.
        """
        import fcntl

        with (self.folder / ".lock").open("w") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise OptcError("another process adds to this store", where=str(self.folder)) from None
            yield


def read_part(path: Path, columns: list[str] | None = None) -> pyarrow.Table:
    """The rows of one part file. Raises OptcError when it is missing, damaged, foreign or of another version."""
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        version = (file.schema_arrow.metadata or {}).get(b"optc_kernel_rows")
    except (pyarrow.ArrowException, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OptcError(
            "a part of the store cannot be read", where=str(path), why=first, hint="remove the file and collect again"
        ) from error
    if version is None:
        raise OptcError(
            "a file in the store holds no kernel rows", where=str(path), hint="move files of other kinds elsewhere"
        )
    if version != str(SCHEMA_VERSION).encode():
        raise OptcError(
            f"a part of the store has schema version {version.decode()}, this optc reads {SCHEMA_VERSION}",
            where=str(path),
            hint="collect into a new store",
        )
    try:
        return file.read(columns)
    except (pyarrow.ArrowException, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OptcError(
            "a part of the store is damaged", where=str(path), why=first, hint="remove the file and collect again"
        ) from error


def _unique(table: Any) -> Any:
    seen: set[str] = set()
    keep = []
    for number, key in enumerate(table.column("key").to_pylist()):
        if key not in seen:
            seen.add(key)
            keep.append(number)
    return table if len(keep) == table.num_rows else table.take(keep)


def models_of(folders: Iterable[str | Path]) -> dict[str, dict[int, list[tuple[str, str]]]]:
    """What `note_model` kept in some stores: by model and pipeline the (workload, class) of each kernel."""
    found: dict[str, dict[int, list[tuple[str, str]]]] = {}

    def add(record: Any) -> None:
        pairs = [(str(workload), str(name)) for workload, name in record["workloads"]]
        found.setdefault(record["model"], {})[int(record["pipeline"])] = pairs

    _each_note(folders, MODELS, "a model's list of kernels is damaged", add)
    return found


def states_of(folders: Iterable[str | Path]) -> dict[str, list[Rates]]:
    """What `note_state` kept in some stores: by fingerprint."""
    found: dict[str, list[Rates]] = {}

    def add(record: Any) -> None:
        found.setdefault(str(record["fingerprint"]), []).append(Rates.of_dict(record["rates"]))

    _each_note(folders, STATES, "a machine's noted rates are damaged", add)
    return found


def _each_note(folders: Iterable[str | Path], kind: str, fault: str, add: Callable[[Any], None]) -> None:
    """Give every note of a kind to `add`. Raises OptcError, `fault` of the file that `add` does not take."""
    for folder in folders:
        for path in sorted((Path(folder) / kind).glob("*.json")):
            try:
                add(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise OptcError(fault, where=str(path), why=str(error)) from error


def merged(folders: Iterable[str | Path]) -> pyarrow.Table:
    """The rows of several stores, each key once."""
    import pyarrow

    return _unique(pyarrow.concat_tables([RowStore(folder).table() for folder in folders]))

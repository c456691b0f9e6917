"""Kernels of one's own machine, as `optc costmodel collect` stores them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from optc.costmodel.datasets.dataset import DataSet

if TYPE_CHECKING:
    import pyarrow

NAME = "cpu_kernels"


def read(folder: Path) -> pyarrow.Table:
    """The rows of a store, or of the stores in the folder `cpu_kernels` of it, each once.

    Raises:
        OptcError: there is no row, or a part is damaged or foreign.
    """
    from optc.costmodel.kernels.store import merged
    from optc.errors import OptcError

    found = stores(folder)
    if not found:
        raise OptcError(
            "the folder holds no measured kernels",
            where=str(folder),
            hint="optc costmodel collect --store DIR measures some",
        )
    return merged(found)


def stores(folder: Path) -> list[Path]:
    """The stores in a folder: itself, those below it, or those below its folder `cpu_kernels`."""
    base = folder / NAME if (folder / NAME).is_dir() else folder
    return sorted({path.parent for path in base.glob("**/*.parquet")})


SET = DataSet(
    name=NAME,
    title="kernels of optc's templates, timed on the machine that trains",
    upstream="optc costmodel collect",
    licence="one's own",
    kind="kernels",
    id_column="key",
    read=read,
    unit="s",
)

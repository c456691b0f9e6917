"""One measured kernel as a row: what was measured, on which machine, by which compiler, and how surely."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

SCHEMA_VERSION = 1
"""Raised with every change that readers must know of."""

MEASURED = "measured"


@dataclass(frozen=True)
class Row:
    """A point of a template's space for one workload on one machine. Times are seconds of one call on one thread.

    Attributes:
        key: a hash of machine, workload, template, schedule and code: two rows with equal keys are the same.
        fingerprint: of the machine (see `fingerprint_of`).
        target: its figures, as JSON.
        workload: a hash of the group's text and of which inputs are constant.
        workload_class: equal for workloads that differ only in layout, epilogue or scalars; splits never share one.
        sources: the model it came from, or `random`.
        ir: the group's canonical text.
        constants: the inputs that are constants.
        template: the schedule template.
        schedule: its point, as JSON.
        code: a hash of the sources that make the kernel.
        compiler: optc's and the code generator's versions.
        status: `measured`, or why there is no time (`failed`: it did not build, crashed or hung).
        names: the features' names, as a hash (see `features.vector_names`).
        features: of workload, schedule and target.
        roofline: the analytical estimate of the group.
        estimate: the template's own estimate of the point.
        flops: of the group; a convolution counts as a direct one.
        bytes: read and written outside.
        near_least, near_median, near_high: weights in the last cache level: least, median and 90th percentile.
        far_least, far_median, far_high: the same with weights evicted from all caches.
        rounds: calls behind each of them.
        noise: the relative standard error of `near_least`, from its scatter and the anchors'.
        anchor: seconds of a fixed piece of arithmetic at that time; its changes are those of the machine's speed.
        anchor_memory: seconds of a fixed read of memory at that time.
        measured_again: how often its rounds were repeated, since they scattered.
        day: when, ISO 8601 with seconds.
    """

    key: str
    fingerprint: str
    target: str
    workload: str
    workload_class: str
    sources: str
    ir: str
    constants: list[int]
    template: str
    schedule: str
    code: str
    compiler: str
    status: str
    names: str
    features: list[float]
    roofline: float
    estimate: float
    flops: int
    bytes: int
    near_least: float
    near_median: float
    near_high: float
    far_least: float
    far_median: float
    far_high: float
    rounds: int
    noise: float
    anchor: float
    anchor_memory: float
    measured_again: int
    day: str

    def values(self) -> dict[str, Any]:
        """By column."""
        return asdict(self)


@lru_cache(maxsize=1)
def arrow_schema() -> pyarrow.Schema:
    """The columns of a part file; its metadata holds the schema's version."""
    import pyarrow

    kinds = {
        "str": pyarrow.string(),
        "int": pyarrow.int64(),
        "float": pyarrow.float64(),
        "list[int]": pyarrow.list_(pyarrow.int32()),
        "list[float]": pyarrow.list_(pyarrow.float32()),
    }
    columns = [pyarrow.field(each.name, kinds[str(each.type)]) for each in fields(Row)]
    return pyarrow.schema(columns, metadata={"optc_kernel_rows": str(SCHEMA_VERSION)})


def digest(*parts: object) -> str:
    """A hash of plain data."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def row_key(fingerprint: str, workload: str, template: str, schedule: str, code: str) -> str:
    """See `Row.key`."""
    return digest(fingerprint, workload, template, schedule, code)[:32]

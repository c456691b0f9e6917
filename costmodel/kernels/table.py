"""Rows of a store as matrices for training: features, times, classes, and which rows may be trusted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.kernels.features import TARGET_FEATURES, WORKLOAD_FEATURES, ScheduleVocabulary
from optc.costmodel.kernels.schema import MEASURED, digest
from optc.errors import OptcError

if TYPE_CHECKING:
    import pyarrow

Floats = npt.NDArray[np.float64]
LARGEST_SCATTER = 0.35  # of the median over the least: beyond it, somebody else used the core


@dataclass(frozen=True)
class KernelTable:
    """n measured kernels.

    Attributes:
        workload: shape (n, features), of workload and target.
        schedule: shape (n, columns of the vocabulary).
        seconds: shape (n,), least time with weights in the last cache level.
        roofline: shape (n,), the analytical seconds.
        estimate: shape (n,), the template's.
        noise: shape (n,).
        keys: the workload of each row.
        classes: the class of each row.
        sources: the model of each row, or `random`.
        templates: of each row.
        texts: the IR of each row.
        schedules: of each row, as JSON.
        ids: what names each row in the store.
        vocabulary: what names the columns of `schedule`.
    """

    workload: Floats
    schedule: Floats
    seconds: Floats
    roofline: Floats
    estimate: Floats
    noise: Floats
    keys: npt.NDArray[np.str_]
    classes: npt.NDArray[np.str_]
    sources: npt.NDArray[np.str_]
    templates: npt.NDArray[np.str_]
    texts: npt.NDArray[Any]
    schedules: npt.NDArray[Any]
    ids: npt.NDArray[np.str_]
    vocabulary: ScheduleVocabulary

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def features(self) -> Floats:
        """What a kernel predictor sees: shape (n, workload + target + schedule)."""
        return np.concatenate([self.workload, self.schedule], axis=1)

    @property
    def residual(self) -> Floats:
        """The logarithm of the measured over the analytical time: what is predicted."""
        return np.log(self.seconds / self.roofline)

    def take(self, index: npt.NDArray[Any]) -> KernelTable:
        """Some rows."""
        arrays = {name: getattr(self, name)[index] for name in _ARRAYS}
        return replace(self, **arrays)

    def best(self) -> KernelTable:
        """For each workload its fastest row."""
        order = np.lexsort((self.seconds, self.keys))
        first = np.concatenate(([True], self.keys[order][1:] != self.keys[order][:-1]))
        return self.take(np.sort(order[first]))


_ARRAYS = (
    "workload", "schedule", "seconds", "roofline", "estimate", "noise", "keys", "classes", "sources", "templates",
    "texts", "schedules", "ids",
)  # fmt: skip


def kernel_table(rows: pyarrow.Table, vocabulary: ScheduleVocabulary | None = None) -> KernelTable:
    """The measured rows whose features this version understands; of several measurements of a point, the last day's.

    Args:
        rows: of a store.
        vocabulary: columns of the schedule features; None: those that the rows have.

    Raises:
        OptcError: no row can be used.
    """
    names = digest(WORKLOAD_FEATURES, TARGET_FEATURES)[:16]
    latest: dict[tuple[str, str, str, str], dict[str, Any]] = {}
    for record in rows.to_pylist():
        if record["status"] == MEASURED and record["names"] == names:
            if record["near_median"] <= record["near_least"] * (1 + LARGEST_SCATTER) or record["near_least"] < 3e-6:
                point = (record["fingerprint"], record["workload"], record["template"], record["schedule"])
                if point not in latest or record["day"] >= latest[point]["day"]:
                    latest[point] = record
    records = list(latest.values())
    if not records:
        raise OptcError(
            "the store holds no row that can be trained on",
            why=f"{rows.num_rows} rows, none measured and with this version's features",
            hint="optc costmodel collect measures some",
        )
    schedules = [json.loads(record["schedule"]) for record in records]
    if vocabulary is None:
        vocabulary = ScheduleVocabulary(
            tuple(sorted({record["template"] for record in records})), tuple(sorted({k for s in schedules for k in s}))
        )
    features = np.array([record["features"][:-1] for record in records], np.float64)
    targets = [json.loads(record["target"]) for record in records]
    points = [
        vocabulary.vector(
            record["template"],
            schedule,
            record["estimate"],
            record["features"][-1],
            vector,
            target["vector_bytes"] // 4,
        )
        for record, schedule, vector, target in zip(records, schedules, features.tolist(), targets, strict=True)
    ]
    return KernelTable(
        features,
        np.array(points, np.float64),
        _numbers(records, "near_least"),
        _numbers(records, "roofline"),
        _numbers(records, "estimate"),
        _numbers(records, "noise"),
        _texts(records, "workload"),
        _texts(records, "workload_class"),
        _texts(records, "sources"),
        _texts(records, "template"),
        np.array([record["ir"] for record in records], object),
        np.array([record["schedule"] for record in records], object),
        _texts(records, "key"),
        vocabulary,
    )


def _numbers(records: Sequence[dict[str, Any]], name: str) -> Floats:
    return np.array([record[name] for record in records], np.float64)


def _texts(records: Sequence[dict[str, Any]], name: str) -> npt.NDArray[np.str_]:
    return np.array([record[name] for record in records], np.str_)


def folds(classes: npt.NDArray[np.str_], count: int, seed: int) -> npt.NDArray[np.int64]:
    """The fold of each row: rows of one class share theirs."""
    names = np.unique(classes)
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = dict(zip(names.tolist(), (order % count).tolist(), strict=True))
    return np.array([fold_of[name] for name in classes.tolist()], np.int64)

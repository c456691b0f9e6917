"""The predictors that ship with the package and those that users adapted: a folder with a card and its model each.

A shipped one lies in `predictors_data/<name>/`, a user's in `predictors/<name>/` of the cache folder: `card.json` says
what it is and how good, `model.npz` (arrays, no pickles) or `model.onnx` holds the parameters.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optc.cache import cache_folder
from optc.errors import OptcError, UsageError

if TYPE_CHECKING:
    from optc.costmodel.datasets.dataset import DataSet

SCHEMA = 1
CARD, ARRAYS, ONNX = "card.json", "model.npz", "model.onnx"


@dataclass(frozen=True)
class Card:
    """What a predictor is, what it learned from, and how good it is.

    Attributes:
        name: of its folder.
        kind: who can read its model: a key of `optc.costmodel.kinds.KINDS`.
        data_set: the set that it was trained on.
        targets: the devices that it predicts for, as the set names them.
        source: upstream address of the data, with commit.
        licence: of the data.
        rows: training rows for each target.
        date: of the training, ISO.
        split: how the held-out rows were chosen, in words.
        seed: of the split and the training.
        figures: held-out figures (`Metrics.to_dict`) of each target.
        details: whatever else the kind needs to read its model, as JSON.
        folder: where it lies; not part of the file.
    """

    name: str
    kind: str
    data_set: str
    targets: tuple[str, ...]
    source: str
    licence: str
    rows: dict[str, int]
    date: str
    split: str
    seed: int
    figures: dict[str, dict[str, float | int | None]]
    details: dict[str, Any] = field(default_factory=dict)
    folder: Path = Path()

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of `model.npz`. Raises OptcError when the file is missing or damaged."""
        path = self.folder / ARRAYS
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise OptcError("the predictor's model is missing or damaged", where=str(path), why=str(error)) from error

    @property
    def onnx_path(self) -> Path:
        """The ONNX model, for predictors that have one."""
        return self.folder / ONNX


def trained_card(
    name: str,
    data_set: DataSet,
    rows: dict[str, int],
    split: str,
    seed: int,
    figures: dict[str, dict[str, float | int | None]],
    details: dict[str, Any],
    targets: Sequence[str] | None = None,
) -> Card:
    """The card of a predictor that was trained today on a data set; by default its targets are those that have rows."""
    return Card(
        name=name,
        kind=data_set.kind,
        data_set=data_set.name,
        targets=tuple(rows if targets is None else targets),
        source=data_set.upstream,
        licence=data_set.licence,
        rows=rows,
        date=datetime.now(UTC).date().isoformat(),
        split=split,
        seed=seed,
        figures=figures,
        details=details,
    )


def adapted_card(
    data_set: DataSet, target: str, rows: int, figures: dict[str, float | int | None], details: dict[str, Any]
) -> Card:
    """The card of a predictor that was made today for a user's own device from a few measurements."""
    return Card(
        name=f"{data_set.name}-{target}".replace("/", "_"),
        kind=data_set.kind,
        data_set=data_set.name,
        targets=(target,),
        source="own measurements",
        licence="",
        rows={target: rows},
        date=datetime.now(UTC).date().isoformat(),
        split="the figures are those of the samples themselves: they flatter",
        seed=0,
        figures={target: figures},
        details=details,
    )


def shipped_folder() -> Path:
    """Where the shipped predictors lie."""
    return Path(__file__).resolve().parent / "predictors_data"


def user_folder() -> Path:
    """Where adapted and self-trained predictors go. It need not exist."""
    return cache_folder() / "predictors"


def cards() -> list[Card]:
    """Every predictor, a user's own first, then the shipped ones, by name."""
    return [
        read_card(path.parent)
        for folder in (user_folder(), shipped_folder())
        for path in sorted(folder.glob(f"*/{CARD}"))
    ]


def find(target: str, data_set: str | None = None, kind: str | None = None) -> Card:
    """The predictor for a target; a user's own goes before a shipped one.

    Raises:
        UsageError: none predicts for this target.
    """
    known = [
        card for card in cards() if (data_set or card.data_set) == card.data_set and (kind or card.kind) == card.kind
    ]
    for card in known:
        if target in card.targets:
            return card
    targets = sorted({name for card in known for name in card.targets})
    what = f"no predictor knows the target '{target}'" + (f" on '{data_set}'" if data_set else "")
    shown = ", ".join(targets[:40]) + (" …" if len(targets) > 40 else "")
    raise UsageError(what, where="--target", hint=f"one of {shown}" if shown else "optc costmodel list shows all")


def read_card(folder: Path) -> Card:
    """The card of a predictor's folder. Raises OptcError when it is damaged or from another version."""
    path = folder / CARD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema = content.pop("schema")
        if schema != SCHEMA:
            raise OptcError("the predictor is from another version of optc", where=str(path), why=f"schema {schema}")
        names = {item.name for item in fields(Card)} - {"folder"}
        content["targets"] = tuple(content["targets"])
        return Card(**{name: content[name] for name in names if name in content}, folder=folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptcError("the predictor's card is missing or damaged", where=str(path), why=str(error)) from error


def save(
    parent: Path, card: Card, arrays: Mapping[str, npt.NDArray[Any]] | None = None, onnx: bytes | None = None
) -> Path:
    """Write a predictor's folder under `parent`; readers see the old one or the new one, nothing in between.

    Returns:
        The folder.
    """
    content = {"schema": SCHEMA, **{name: value for name, value in asdict(card).items() if name != "folder"}}
    parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".", dir=parent))
    staging.chmod(0o755)
    target = parent / card.name
    try:
        text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False)
        (staging / CARD).write_text(text + "\n", encoding="utf-8")
        if arrays is not None:
            (staging / ARRAYS).write_bytes(_packed(arrays))
        if onnx is not None:
            (staging / ONNX).write_bytes(onnx)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=".", dir=parent))
            target.rename(old / "old")
            staging.rename(target)
            shutil.rmtree(old)
        else:
            staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return target


def _packed(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """An `.npz` file whose bytes depend on the arrays alone: no clock inside."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(arrays):
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            information = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            information.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(information, entry.getvalue())
    return buffer.getvalue()

"""Held-out figures of predictors, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from optc.cli.output import emit_table

if TYPE_CHECKING:
    from optc.costmodel.predictors import Card

HEADER = [
    "set", "target", "trained on", "judged on", "MAPE", "median", "±5%", "±10%", "Spearman", "coverage", "date",
]  # fmt: skip
RIGHT = range(2, 10)


def card_rows(card: Card) -> dict[str, Any]:
    """A card as JSON, without what only its kind can read."""
    names = ("name", "kind", "data_set", "targets", "source", "licence", "date", "split", "seed", "rows", "figures")
    return {name: getattr(card, name) for name in names}


def figure_cells(figures: dict[str, Any]) -> list[str]:
    """The figures of one target as cells: rows, MAPE, median error, ±5%, ±10%, Spearman, coverage."""
    if not figures:
        return ["", *["–"] * 6]
    share = [f"{100 * figures[name]:.1f}%" for name in ("within_5", "within_10")]
    coverage = figures.get("coverage")
    return [
        str(figures["rows"]),
        f"{figures['mape']:.1f}%",
        f"{figures['median_ape']:.1f}%",
        *share,
        "–" if figures["spearman"] is None else f"{figures['spearman']:.3f}",
        "–" if coverage is None else f"{100 * coverage:.0f}%",
    ]


def emit_figures(cards: Iterable[Card], target: str | None = None) -> None:
    """Print one row for each target of each predictor, or for the one target only."""
    rows = [
        [card.data_set, name, str(card.rows.get(name, "")), *figure_cells(card.figures.get(name, {})), card.date]
        for card in cards
        for name in card.targets
        if target in (None, name)
    ]
    emit_table(HEADER, rows, right=RIGHT)

"""What the benchmark scripts compute from figures, and how they print them: nothing here measures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

ABSENT = "–"


def geometric_mean(values: Iterable[float]) -> float:
    """Of positive numbers; NaN of none."""
    logarithms = [math.log(value) for value in values]
    return math.exp(statistics.fmean(logarithms)) if logarithms else math.nan


def relative_error(ours: np.ndarray, reference: np.ndarray) -> float:
    """The largest absolute difference over the reference's range; the share of unequal elements for other types.

    Extents of 1 do not count: some runtimes drop them. Infinite where the sizes or the finiteness differ.
    """
    if ours.size != reference.size:
        return math.inf
    if not reference.size:
        return 0.0
    ours, reference = ours.reshape(-1), reference.reshape(-1)
    if not np.issubdtype(reference.dtype, np.floating):
        return float(np.mean(ours != reference))
    if not np.array_equal(np.isfinite(ours), np.isfinite(reference)):
        return math.inf
    ours, reference = (each[np.isfinite(reference)] for each in (ours, reference))
    scale = float(np.max(np.abs(reference), initial=0.0)) or 1.0
    return float(np.max(np.abs(ours - reference), initial=0.0)) / scale


def best_peer(row: Mapping[str, Any], peers: Sequence[str]) -> tuple[str, float] | None:
    """The fastest peer of a row with its milliseconds."""
    measured = [(row["milliseconds"][peer], peer) for peer in peers if peer in row["milliseconds"]]
    return (min(measured)[1], min(measured)[0]) if measured else None


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table; the first column is text, the others are numbers."""
    lines = [f"| {' | '.join(header)} |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def peers_table(rows: Mapping[str, Mapping[str, Any]], peers: Sequence[str], efficiency: bool) -> str:
    """Latencies of one thread count: a row for each model, then the geometric means of the ratios."""
    header = ["model", "optc", *peers, "optc / best"]
    header += ["of peak"] if efficiency else []
    lines: list[list[str]] = []
    ratios: dict[str, list[float]] = {peer: [] for peer in [*peers, "best"]}
    for model, row in rows.items():
        ours = row["milliseconds"].get("optc")
        cells = [model, f"{ours:.3f}" if ours else ABSENT]
        best = best_peer(row, peers)
        for peer in peers:
            theirs = row["milliseconds"].get(peer)
            if theirs is None:
                cells.append(ABSENT)
                continue
            text = f"{theirs:.3f}" if ours is None else f"{theirs:.3f} ({ours / theirs:.2f})"
            cells.append(f"**{text}**" if best and best[0] == peer else text)
            if ours:
                ratios[peer].append(ours / theirs)
        if ours and best:
            ratios["best"].append(ours / best[1])
        cells.append(f"{ours / best[1]:.2f}" if ours and best else ABSENT)
        if efficiency:
            cells.append(f"{row['efficiency']:.0%}" if row.get("efficiency") else ABSENT)
        lines.append(cells)
    means = [f"{geometric_mean(ratios[peer]):.3f} ({len(ratios[peer])})" for peer in [*peers, "best"]]
    lines.append(["geometric mean (models)", "", *means, *([""] if efficiency else [])])
    return table(header, lines)


def absences(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why peers have no figure: a line for each peer and reason, with the models it holds for."""
    found: dict[tuple[str, str], list[str]] = {}
    for model, row in rows.items():
        for peer, reason in row["absent"].items():
            found.setdefault((peer, reason), []).append(model)
    everywhere = set(rows)
    return [
        f"* {peer}, {'all models' if set(models) == everywhere else ', '.join(models)}: {reason}"
        for (peer, reason), models in sorted(found.items())
    ]


def peers_markdown(report: Mapping[str, Any]) -> str:
    """A report of benchmarks/peers.py: facts, a table for each thread count, and what is absent."""
    facts = report["facts"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    peak = f"; {facts['peak_flops'] / 1e9:.0f} GFLOP/s f32 on one core" if facts.get("peak_flops") else ""
    lines = [f"{facts['processor']}, {facts['cores']} cores{peak}; commit {facts['commit']}; {versions}.", ""]
    peers = [name for name in report["peers"] if name != "optc"]
    for threads, rows in report["threads"].items():
        lines += [f"### {threads} thread{'s' if int(threads) > 1 else ''}", ""]
        lines += ["Milliseconds; in brackets optc's over the peer's; the best peer is bold.", ""]
        lines += [peers_table(rows, peers, efficiency=int(threads) == 1)]
        lines += [*absences(rows), ""] if absences(rows) else []
        spreads = [value for row in rows.values() for value in row["spread"].values()]
        errors = [row["errors"]["optc"] for row in rows.values() if "optc" in row["errors"]]
        if spreads and errors:
            lines += [
                f"Interquartile range of the rounds over their median: {statistics.median(spreads):.1%} (median), "
                f"{max(spreads):.1%} (most). Largest error of optc over an output's range: {max(errors):.1e}.",
                "",
            ]
    return "\n".join(lines).rstrip() + "\n"

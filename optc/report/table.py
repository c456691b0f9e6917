"""A profile as rows of text."""

from __future__ import annotations

from optc.report.profile import Profile, Step

HEADER = ("#", "step", "template", "ms", "share", "GFLOP/s", "efficiency", "GB/s", "predicted/measured")
LABEL_COLUMN = 1
RIGHT_COLUMNS = (0, 3, 4, 5, 6, 7, 8)
NARROWEST_LABEL = 16
_GAP = 2


def rows(profile: Profile, *, order: str = "time", top: int | None = None, width: int = 120) -> list[list[str]]:
    """The cells below HEADER: the steps that ran, then one row for all of them.

    Args:
        profile: what to show.
        order: `time` for the slowest first, `source` for the order of the program.
        top: how many steps; the last row counts all of them. None for all.
        width: of a line in characters; labels are shortened to fit, but not below NARROWEST_LABEL.
    """
    steps = list(profile.executed)
    if order == "time":
        steps.sort(key=lambda step: -step.seconds)
    total = profile.total
    cells = [_cells(step, step.predicted_over_measured, total.seconds) for step in steps[:top]]
    cells.append(_cells(total, profile.predicted_over_measured, total.seconds))
    cells[-1][0] = ""
    others = [max(len(row[column]) for row in (HEADER, *cells)) for column in range(len(HEADER))]
    others[LABEL_COLUMN] = 0
    room = max(NARROWEST_LABEL, width - sum(others) - _GAP * (len(HEADER) - 1))
    for row in cells:
        row[LABEL_COLUMN] = shorten(row[LABEL_COLUMN], room)
    return cells


def _cells(step: Step, ratio: float | None, total_seconds: float) -> list[str]:
    efficiency = step.efficiency
    return [
        str(step.index),
        step.label,
        step.template,
        f"{step.seconds * 1e3:.4f}",
        f"{step.seconds / total_seconds:.1%}" if total_seconds else "",
        f"{step.flops_per_second * 1e-9:.1f}" if step.flops else "",
        "" if efficiency is None else f"{efficiency:.1%}",
        f"{step.bytes_per_second * 1e-9:.1f}",
        "" if ratio is None else f"{ratio:.2f}",
    ]


def summary(profile: Profile) -> list[tuple[str, str]]:
    """The whole model as (name, value)."""
    total, machine = profile.total, profile.machine
    threads = _threads(machine.threads)
    facts = [
        ("latency", f"{_ms(profile.latency)}, middle half of {profile.runs} runs on {threads}"),
        ("steps", f"{_ms(total.seconds)}; the rest of a run takes {_ms(profile.overhead)}"),
        (
            "efficiency",
            f"{profile.efficiency:.1%} of the peak over the latency; {total.efficiency or 0:.1%} in the steps",
        ),
        ("peak", f"{machine.peak('f32') * 1e-9:.1f} GFLOP/s on {threads}: {machine.basis}"),
    ]
    if profile.predicted_threads != machine.threads:
        facts.append(("predictions", f"for {_threads(profile.predicted_threads)}"))
    return facts


def shorten(label: str, width: int) -> str:
    """A label in at most `width` characters: the nodes that fit (`first +3`), else the end of the first name."""
    if len(label) <= width:
        return label
    names = label.split(", ")
    for kept in range(len(names) - 1, 0, -1):
        text = f"{', '.join(names[:kept])} +{len(names) - kept}"
        if len(text) <= width:
            return text
    rest = f" +{len(names) - 1}" if len(names) > 1 else ""
    return f"…{names[0][len(names[0]) - (width - len(rest) - 1) :]}{rest}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms"


def _threads(count: int) -> str:
    return f"{count} thread" if count == 1 else f"{count} threads"

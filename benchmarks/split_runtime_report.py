"""The page about the runtime of split models."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

_EVENTS = 6


def markdown(parts: Mapping[str, Any]) -> str:
    """benchmarks/SPLIT_RUNTIME.md of the parts that were measured."""
    lines = [
        "# The runtime of split models",
        "",
        "Written by `benchmarks/split_runtime.py`. Device and server are processes in two network namespaces, joined",
        "by an emulated link of IP packets (`benchmarks/emulated_link.py`; this machine's kernel has no `tc netem`).",
        "",
    ]
    if "faults" in parts:
        lines += _faults(parts["faults"])
    if "throttled" in parts:
        lines += _throttled(parts["throttled"])
    return "\n".join(lines).rstrip() + "\n"


def _faults(part: Mapping[str, Any]) -> list[str]:
    counts = part["counts"]
    memory = part["memory"]
    lines = [
        "## Faults",
        "",
        f"{part['devices']} devices ask {part['requests']:,} times in {part['wall seconds']:.0f} s ({part['model']};",
        "every way with a server is used by some of them), while the server is killed (-9) and started again, the link",
        "is cut for 5 s and loses packets, and a proxy between two of five devices and the server flips bits, ends",
        "connections inside of frames and leaves bytes out. Each answer is compared bit by bit with that of the same",
        "halves without a network. The machine did other work and paused the run at times, so times say nothing.",
        "",
        "| | |",
        "| --- | --- |",
        f"| answered | {counts.get('answered', 0):,} of {part['requests']:,} |",
        f"| wrong answers | {counts.get('wrong', 0)} |",
        f"| with the server | {counts.get('with the server', 0):,} |",
        f"| by the device alone | {counts.get('by the device', 0):,} |",
        f"| tracebacks of the server | {part['tracebacks']} |",
        f"| damage by the proxy | {part['damage'].strip('{}').replace(chr(39), '')} |",
    ]
    for name in ("server", "devices"):
        series = [row[name] for row in memory if name in row]
        if series:
            middle = len(series) // 2
            first, second = max(series[:middle]), max(series[middle:])
            lines.append(f"| memory of the {name} (RSS) | at most {first:.0f} MB, in the second half {second:.0f} MB |")
    for place, (median, late, most) in part["milliseconds"].items():
        who = "with the server" if place == "server" else "by the device, waiting included"
        lines.append(f"| milliseconds {who} | median {median:g}, 99% {late:g}, most {most:g} |")
    lines += ["", "Bytes sent for a request, frames included: "]
    lines[-1] += ", ".join(f"{way}: {size:,}" for way, size in part["bytes sent"].items()) + "."
    lines += ["", "Why the server did not answer:", "", "| reason | requests |", "| --- | --- |"]
    reasons: Counter[str] = Counter()
    for reason, count in part["reasons"].items():
        reasons[re.sub(r"within [\d.]+ s|for [\d.]+ s", "for too long", reason)] += count
    lines += [f"| {reason} | {count:,} |" for reason, count in reasons.most_common()]
    lines += ["", "Who may not talk to the server:", "", "| device | what it is told | answered right by itself |"]
    lines += ["| --- | --- | --- |"]
    for name, found in part["strangers"].items():
        said = ": ".join(line.strip() for line in found["said"].splitlines())
        lines.append(f"| {name} | {said} | {'yes' if found['right'] else 'no'} |")
    first, last = part["events"][:_EVENTS], part["events"][-1]
    lines += ["", "What happened, in rounds:", "", *(f"* {event}" for event in first), "* …", f"* {last}", ""]
    return lines


def _throttled(part: Mapping[str, Any]) -> list[str]:
    lines = [
        "## A throttled device",
        "",
        f"The device is a process with {part['share']:.0%} of a core (cgroup), the server has this host; "
        f"{1e3 * part['rtt']:g} ms RTT;",
        f"requests one after the other for at least {part['seconds']:g} s. Wall time of a request, milliseconds.",
        "The quota is given out in slices of 20 ms, so single times are uncertain by as much; waking up and framing on",
        "the device are slowed down, too, and other work of this host shows in each policy's own seconds. `adaptive`",
        "is `ModelPredictive` from its first request on; deciding takes it 0.2 to 1 ms of CPU time a request, and",
        f"{1 / part['share']:.0f} times as much at this share.",
        "",
        "| link | policy | requests | median | mean | 95% | kB sent | ways taken |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in part["rows"]:
        ways = ", ".join(f"{name}: {count}" for name, count in row["ways"].items())
        link = f"{row['trace']}, measured earlier" if row.get("earlier") else row["trace"]
        lines.append(
            f"| {link} | {row['policy']} | {row['requests']} | {row['median_ms']:g} | {row['mean_ms']:g} "
            f"| {row['p95_ms']:g} | {row['kilobytes']:g} | {ways} |"
        )
    return [*lines, ""]

"""`optc split`: where to cut a model for a device, a server and a link, and the artifacts of both sides."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optc.cli.images import image_options, preprocessing
from optc.cli.output import Progress, count_text, emit_facts, emit_json, emit_table, seconds_text, size_text
from optc.cli.parameters import Number, common, dim_option, shape_option, share, unique
from optc.errors import UsageError

if TYPE_CHECKING:
    from optc.artifact.split_record import SplitRecord
    from optc.driver.split.build import Prepared
    from optc.driver.split.fitting import Fitted
    from optc.driver.split.plan import PlannedWay, SplitPlan
    from optc.targets.link import Link

HEADER = ("way", "sent", "device", "link", "server", "total", "bytes", "energy", "device memory")
_NAMES = 2  # of values that a row shows


@click.command("split")
@click.argument("model")
@click.option("--device", required=True, help="The target that has the inputs; optc targets lists them.")
@click.option("--server", default="cpu", show_default=True, help="The target that helps.")
@click.option("--link", default="wifi", show_default=True, help="Between them: wifi, lte, 5g, 3g … or a .toml file.")
@click.option("--bandwidth", type=Number(0), metavar="MBIT", help="Mbit/s from the device, in place of the link's.")
@click.option("--rtt", type=Number(0), metavar="MS", help="Milliseconds there and back, in place of the link's.")
@click.option("--objective", type=click.Choice(["latency", "energy"]), default="latency", show_default=True)
@click.option(
    "--encoding",
    "encodings",
    default="q8",
    show_default=True,
    help="Of what is sent: raw, lossless, q8 … q2; with commas also others to choose from at run time.",
)
@click.option("--private", is_flag=True, help="The inputs of the model never leave the device.")
@click.option("--keep", "kept", multiple=True, metavar="VALUE", help="A value that never leaves it; repeatable.")
@click.option("--memory-limit", metavar="SIZE", help="Of the device, for weights and intermediate values: 64M.")
@click.option("--cuts", type=click.IntRange(min=0), default=3, show_default=True, help="Cuts to build at most.")
@click.option("--calib", help="Samples to measure bytes and noise on: images, .npy, .npz (default: a random input).")
@click.option("--max-drop", help="Share of the samples whose answer the coding may change, such as 1%; needs --calib.")
@click.option(
    "--bottleneck",
    "bottlenecks",
    multiple=True,
    metavar="FILE",
    help="The model with a trained bottleneck: FILE.onnx, FILE.onnx@VALUE (default: codes), or a folder; repeatable.",
)
@click.option("--beyond", metavar="TARGET", help="A next tier that the server asks in turn: device, edge, cloud.")
@click.option("--beyond-link", default="ethernet", show_default=True, help="Between the server and the next tier.")
@image_options
@click.option(
    "--simulate", type=click.Path(path_type=Path), help="Replay a trace (.csv: seconds, Mbit/s, optional ms)."
)
@click.option("--period", type=Number(0), metavar="MS", default=1000.0, show_default=True, help="Between requests.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the ways, and the replay (.svg, .png).")
@click.option("-o", "output", type=click.Path(path_type=Path), help="Build the ways into this folder.")
@shape_option
@dim_option
@click.option("--device-threads", type=click.IntRange(min=1), help="Threads of a run there (default: all cores).")
@click.option("--server-threads", type=click.IntRange(min=1), help="Threads of a run there (default: all cores).")
@click.option("--tune", default="auto", show_default=True, help="Time for measuring schedules: 0, 30s, 5m or auto.")
@click.option("--verify/--no-verify", default=True, help="Compare each half with onnxruntime.")
@common
def command(
    model: str,
    link: str,
    bandwidth: float | None,
    rtt: float | None,
    encodings: str,
    private: bool,
    kept: tuple[str, ...],
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    dims: tuple[tuple[str, int], ...],
    calib: str | None,
    max_drop: str | None,
    bottlenecks: tuple[str, ...],
    simulate: Path | None,
    period: float,
    plot: Path | None,
    output: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Decide where MODEL runs between a device and a server, and build both sides.

    Without -o it only says what it would do.
    """
    from optc.driver.split.build import SplitOptions, build_split, prepare_split
    from optc.driver.split.plan import INPUTS

    if max_drop is not None and calib is None:
        raise UsageError("--max-drop needs --calib", hint="--calib images/")
    if simulate is not None and period <= 0:
        raise UsageError("requests need a time between them", where="--period", hint="--period 1000")
    options = SplitOptions(
        device=given["device"],
        server=given["server"],
        link=_link(link, bandwidth, rtt),
        objective=given["objective"],
        encodings=tuple(dict.fromkeys(encodings.split(","))),
        private=(*kept, *((INPUTS,) if private else ())),
        memory_limit=given["memory_limit"],
        cuts=given["cuts"],
        calib=calib,
        preprocessing=preprocessing(given) if calib is not None else None,
        max_drop=None if max_drop is None else share(max_drop),
        bottlenecks=bottlenecks,
        beyond=given["beyond"],
        beyond_link=None if given["beyond"] is None else _link(given["beyond_link"], None, None),
        shapes=unique(shapes, "--shape"),
        dims=unique(dims, "--dim"),
        device_threads=given["device_threads"],
        server_threads=given["server_threads"],
        tune=given["tune"],
        verify=given["verify"],
        command=shlex.join(["optc", *click.get_current_context().find_root().obj]),
    )
    from dataclasses import replace

    record = None
    with Progress() as progress:
        options = replace(options, progress=progress)
        prepared = prepare_split(model, options)
        if output is not None:
            record = build_split(prepared, options, output)
    outcome = None
    if simulate is not None:
        from optc.driver.split.replay import replay_trace

        outcome = replay_trace(prepared.plan, simulate, period / 1e3)
    if plot is not None:
        from optc.cli.memory_game import write_picture
        from optc.cli.split_picture import picture

        write_picture(plot, picture(prepared.loaded.name, prepared.plan, outcome))
    if as_json:
        emit_json(_json(prepared, record, outcome, output))
        return
    _show(prepared, record)
    if outcome is not None:
        click.echo()
        _show_replay(outcome)
    for path in (output, plot):
        if path is not None:
            click.echo(f"written to {path}")


def _link(name: str, bandwidth: float | None, rtt: float | None) -> Link:
    from optc.targets.link import load_link

    if bandwidth == 0:
        raise UsageError("a link of 0 Mbit/s carries nothing", where="--bandwidth")
    link = load_link(name)
    uplink = None if bandwidth is None else 1e6 * bandwidth
    # The rate that was not given keeps its proportion.
    downlink = None if uplink is None else uplink * link.downlink / link.uplink
    return link.with_rates(uplink=uplink, downlink=downlink, rtt=None if rtt is None else rtt / 1e3)


def _show(prepared: Prepared, record: SplitRecord | None) -> None:
    plan = prepared.plan
    link = plan.link
    rates = f"{count_text(link.uplink)}bit/s up, {count_text(link.downlink)}bit/s down, {seconds_text(link.rtt)} RTT"
    emit_facts(
        [
            ("device", f"{plan.device}: {plan.basis[0]}"),
            ("server", f"{plan.server}: {plan.basis[1]}"),
            ("link", f"{link.name}: {rates}"),
            ("bytes", f"measured on {prepared.basis}"),
        ]
    )
    click.echo()
    rows = [_row(way, way is plan.chosen, plan.knows_energy) for way in plan.ways]
    emit_table(HEADER, rows, right=range(2, len(HEADER)))
    click.echo()
    emit_facts([*_choice(plan), *_bottlenecks(plan), *_noise(record)])


def _row(way: PlannedWay, chosen: bool, energy: bool) -> list[str]:
    cost = way.cost
    more = f" +{len(way.sent) - _NAMES}" if len(way.sent) > _NAMES else ""
    sent = ", ".join(way.sent[:_NAMES]) + more
    times = (cost.computing[0], cost.linking, cost.computing[1], cost.seconds)
    return [
        f"{way.name}{' *' if chosen else ''}",
        f"{sent} ({way.encoding})" if sent else "nothing",
        *(f"{1e3 * each:.2f} ms" for each in times),
        str(cost.bytes),
        f"{1e3 * cost.joules:.1f} mJ" if energy else "unknown",
        size_text(way.device_bytes),
    ]


def _choice(plan: SplitPlan) -> list[tuple[str, str]]:
    chosen, second = plan.chosen, plan.runner_up
    least = {"latency": "fastest", "energy": "the device's energy is least"}[plan.objective]
    facts = [("chosen", f"{chosen.name}: {_amount(chosen, plan.objective)}, {least} of {len(plan.ways)}")]
    if second is not None:
        ratio = _value(second, plan.objective) / max(_value(chosen, plan.objective), 1e-12)
        facts.append(("runner-up", f"{second.name}: {_amount(second, plan.objective)}, {ratio:.2f}× as much"))
    facts += [(f"no {name}", reason) for name, reason in plan.missing.items()]
    count = len(plan.front)
    facts.append(("front", f"{count} cut{'s' if count != 1 else ''} that nothing beats in latency, energy and bytes"))
    return facts


def _value(way: PlannedWay, objective: str) -> float:
    return way.cost.seconds if objective == "latency" else way.cost.joules


def _amount(way: PlannedWay, objective: str) -> str:
    return seconds_text(way.cost.seconds) if objective == "latency" else f"{1e3 * way.cost.joules:.3g} mJ"


def _bottlenecks(plan: SplitPlan) -> list[tuple[str, str]]:
    """What each trained way saves, and what it costs."""
    plain = [way for way in plan.candidates if way.fitted is None]
    best = min(plain, key=lambda way: _value(way, plan.objective))
    sending = min((way for way in plain if way.sent), key=lambda way: _value(way, plan.objective), default=None)
    facts = []
    for way in plan.ways:
        if way.fitted is None:
            continue
        ratio = _value(way, plan.objective) / max(_value(best, plan.objective), 1e-12)
        lines = [f"{_amount(way, plan.objective)}, {ratio:.2f}× as much as {best.name}, the best without training"]
        if sending is not None:
            less = 100 * (1 - way.cost.bytes / max(sending.cost.bytes, 1))
            than = f"than {sending.name} ({sending.cost.bytes} bytes)"
            lines.append(f"{way.cost.bytes} bytes, {abs(less):.0f}% {'less' if less >= 0 else 'more'} {than}")
        facts.append((way.name, "\n".join([*lines, accuracy_text(way.fitted)])))
    return facts


def accuracy_text(fitted: Fitted) -> str:
    """What is known of the accuracy of a trained way."""
    parts = []
    if fitted.given.drop is not None:
        parts.append(f"loses {100 * fitted.given.drop:.2f} points of accuracy, as its training states")
    if fitted.noise is not None and fitted.noise.changed is not None:
        parts.append(f"{100 * fitted.noise.changed:.2f}% of the answers are not the model's on {fitted.samples}")
    return "; ".join(parts) or "what it loses is not known; --calib measures how many answers change"


def _noise(record: SplitRecord | None) -> list[tuple[str, str]]:
    """What coding does to the outputs, for a split that was built."""
    if record is None:
        return []
    lines = []
    for way in record.ways:
        if way.server is None or "snr_db" not in way.details or "changed" in way.details:
            continue
        snr = way.details["snr_db"]
        text = "no noise" if snr is None or not math.isfinite(snr) else f"{snr:.1f} dB signal to noise"
        changed = "" if way.drop is None else f", {100 * way.drop:.2f}% of the answers change"
        lines.append(f"{way.name}: {text}{changed}")
    return [("coding", "\n".join(lines))] if lines else []


def _show_replay(outcome: Any) -> None:
    rows = []
    for each in outcome.runs:
        times = (f"{1e3 * value:.1f} ms" for value in (each.median, each.p95))
        ratio = f"{each.median / outcome.oracle.median:.2f}×"
        rows.append([each.name, *times, f"{1e3 * each.joules:.1f} mJ", ratio, each.ways_text])
    emit_table(("policy", "median", "p95", "energy", "of oracle", "answered by"), rows, right=range(1, 5))


def _json(prepared: Prepared, record: SplitRecord | None, outcome: Any, output: Path | None) -> dict[str, Any]:
    plan = prepared.plan
    return {
        "device": plan.device,
        "server": plan.server,
        "link": plan.link.to_dict(),
        "objective": plan.objective,
        "chosen": plan.chosen.name,
        "runner_up": None if plan.runner_up is None else plan.runner_up.name,
        "ways": [
            {
                "name": way.name,
                "encoding": way.encoding,
                "sent": list(way.sent),
                "device_seconds": way.cost.computing[0],
                "link_seconds": way.cost.linking,
                "server_seconds": way.cost.computing[1],
                "seconds": way.cost.seconds,
                "bytes": way.cost.bytes,
                "joules": way.cost.joules if plan.knows_energy else None,
                "device_bytes": way.device_bytes,
            }
            for way in plan.ways
        ],
        "front": [{"seconds": each.seconds, "joules": each.joules, "bytes": each.bytes} for _, each in plan.front],
        "bottlenecks": [
            {"name": way.name, "bytes": way.cost.bytes, "stated_drop": way.fitted.given.drop}
            | {"changed": None if way.fitted.noise is None else way.fitted.noise.changed}
            for way in plan.ways
            if way.fitted is not None
        ],
        "missing": dict(plan.missing),
        "identity": None if record is None else record.identity,
        "noise": None if record is None else {way.name: dict(way.details) for way in record.ways},
        "replay": None if outcome is None else outcome.to_dict(),
        "output": output,
    }

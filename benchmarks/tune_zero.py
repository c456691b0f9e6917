"""How much is lost by choosing schedules without measuring: `--tune 0` beside the best point of the whole space.

    python benchmarks/tune_zero.py --zoo build/zoo --out build/tune_zero --resume

Of the zoo's distinct kernels a seeded sample is drawn. All points of all templates that accept a kernel are measured
(of a space beyond --most-points a seeded sample that holds the predicted ones), each chunk of them in a process of its
own. Then the point that prediction alone chooses, the one that the default tuning chooses and the best ones of the
space are measured again side by side; only these times count, so that the best is not merely the luckiest.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.tables import geometric_mean, table  # noqa: E402
from benchmarks.zoo import ZOO, example_inputs  # noqa: E402
from optc.backends.tvm.codegen import load_tvm  # noqa: E402
from optc.backends.tvm.template import Choice, templates_for  # noqa: E402
from optc.backends.tvm.tuning import CANDIDATES, TASK_SECONDS  # noqa: E402
from optc.backends.tvm.tuning.candidates import diverse, ranked  # noqa: E402
from optc.backends.tvm.tuning.measure import measure  # noqa: E402
from optc.backends.tvm.tuning.workers import run_isolated  # noqa: E402
from optc.backends.tvm.workload import Workload, workload_key  # noqa: E402
from optc.targets.target import Target  # noqa: E402

CHUNK = 12  # points that one process compiles and measures
FINALISTS = 3  # best points of the space that are measured again
REPEATS = 2  # of the final measurement, the least counts


@dataclass(frozen=True)
class Kernel:
    """A distinct kernel of the zoo: the first model and place where it occurs."""

    name: str
    workload: Workload

    @property
    def operations(self) -> list[str]:
        return [op.name.removeprefix("onnx.") for op in self.workload.group.body if op.name != "optc.constant"]


def kernels_of(name: str, zoo: Path, target: Target, threads: int) -> Iterator[Kernel]:
    """The kernels of one model as the standard pipeline plans them."""
    from optc.backends import kernel_backend
    from optc.driver.compile import plan
    from optc.driver.options import CompileOptions
    from optc.driver.program.lowering import FUSED, group_of
    from optc.frontends import load_model

    path = zoo / f"{name}.onnx"
    inputs = example_inputs(onnx.load(str(path), load_external_data=False), ZOO[name].inputs)
    shapes = {each: list(array.shape) for each, array in inputs.items()}
    module = load_model(str(path), shapes, None, None).module
    plan(module, kernel_backend("tvm"), target, CompileOptions(threads=threads, shapes=shapes))
    position = 0
    for operation in module.walk():
        if operation.name == FUSED:
            group = group_of(operation)
            templates = templates_for(group, target)
            if not isinstance(templates, str):
                yield Kernel(f"{name}/{position}", Workload(workload_key(group, target), group, templates))
            position += 1


def sample(kernels: Sequence[Kernel], count: int, seed: int) -> list[Kernel]:
    """`count` kernels, drawn without replacement; the order is drawn too, so that a part of it is a sample as well."""
    return random.Random(seed).sample(list(kernels), min(count, len(kernels)))


def points_of(kernel: Kernel, target: Target, most: int, seed: int) -> tuple[list[Choice], int]:
    """The points to measure, best prediction first, and how many there are in all."""
    points = ranked(kernel.workload.templates, kernel.workload.group, target)
    if len(points) <= most:
        return [point for _, point in points], len(points)
    kept = [points[0][1], *diverse(points, CANDIDATES)]
    rest = [point for _, point in points if point not in kept]
    drawn = set(random.Random(f"{seed} {kernel.name}").sample(range(len(rest)), most - len(kept)))
    return [*dict.fromkeys(kept), *(point for number, point in enumerate(rest) if number in drawn)], len(points)


def measure_all(workload: Workload, points: Sequence[Choice], target: Target, processes: int) -> dict[Choice, float]:
    """Seconds of each point that could be measured, in several processes."""
    chunks = [points[start : start + CHUNK] for start in range(0, len(points), CHUNK)]
    tasks = ((number, partial(measure, workload.group, chunk, target)) for number, chunk in enumerate(chunks))
    found: dict[Choice, float] = {}
    for number, seconds in run_isolated(tasks, processes, TASK_SECONDS * 2, math.inf):
        if seconds is not None:
            found.update(zip(chunks[number], seconds, strict=True))
    return found


def evaluate(kernel: Kernel, target: Target, most: int, seed: int) -> dict:
    """The row of one kernel: what prediction alone, the default tuning and the exhaustive measurement choose."""
    workload = kernel.workload
    predictions = ranked(workload.templates, workload.group, target)
    predicted = predictions[0][1]
    points, total = points_of(kernel, target, most, seed)
    found = measure_all(workload, points, target, os.cpu_count() or 1)
    tuned = measure_all(workload, diverse(predictions, CANDIDATES), target, 1)
    default = min(tuned, key=lambda point: tuned[point], default=predicted)
    best = sorted(found, key=lambda point: found[point])[:FINALISTS]
    finalists = list(dict.fromkeys([predicted, default, *best]))
    final: dict[Choice, float] = {}
    for _ in range(REPEATS):
        for point, seconds in measure_all(workload, finalists, target, 1).items():
            final[point] = min(seconds, final.get(point, math.inf))
    if predicted not in final or default not in final:
        raise RuntimeError(f"{kernel.name}: the predicted point cannot be measured")
    winner = min(final, key=lambda point: final[point])
    estimates = {point: seconds for seconds, point in predictions}
    return {
        "kernel": kernel.name,
        "operations": kernel.operations,
        "points": total,
        "measured": len(found),
        **{
            role: {
                "template": point.template.name,
                "schedule": dict(point.schedule),
                "seconds": final[point],
                "predicted": estimates[point],
            }
            for role, point in (("zero", predicted), ("default", default), ("best", winner))
        },
    }


def markdown(report: dict) -> str:
    """Geometric means over the sample, by the template of the best point, and the kernels that lose most."""
    rows = report["rows"]
    if not rows:
        return "Nothing is measured yet.\n"

    def ratio(row: dict, role: str) -> float:
        return row[role]["seconds"] / row["best"]["seconds"]

    def line(name: str, of: list[dict]) -> list[str]:
        sums = {role: sum(row[role]["seconds"] for row in of) for role in ("zero", "default", "best")}
        zero, default = (geometric_mean(ratio(row, role) for row in of) for role in ("zero", "default"))
        whole = sums["zero"] / sums["best"]
        return [name, str(len(of)), f"{zero:.3f}", f"{default:.3f}", f"{whole:.3f}", f"{max(map(worst, of)):.2f}"]

    def worst(row: dict) -> float:
        return ratio(row, "zero")

    by_template: dict[str, list[dict]] = {}
    for row in rows:
        by_template.setdefault(row["best"]["template"], []).append(row)
    lines = [line("all", rows), *(line(name, of) for name, of in sorted(by_template.items()))]
    losers = sorted(rows, key=worst, reverse=True)[:10]
    return "\n".join(
        [
            f"{len(rows)} of the zoo's {report['kernels']} distinct kernels with more than one point "
            f"({report['single']} more have only one), {sum(row['measured'] for row in rows)} points measured, "
            f"one thread, commit {report['commit']}. Ratios of times to that of the best point measured.",
            "",
            table(
                ["best template", "kernels", "tune 0", "default tuning", "tune 0, sum of times", "tune 0, worst"],
                lines,
            ),
            table(
                ["kernel", "operations", "µs", "tune 0", "chosen", "best"],
                [
                    [
                        row["kernel"],
                        " ".join(dict.fromkeys(row["operations"])),
                        f"{row['best']['seconds'] * 1e6:.1f}",
                        f"{worst(row):.2f}",
                        _point(row["zero"]),
                        _point(row["best"]),
                    ]
                    for row in losers
                ],
            ),
        ]
    )


def _point(role: dict) -> str:
    return f"{role['template']} {','.join(f'{name}={value}' for name, value in role['schedule'].items())}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, help="folder that benchmarks/zoo.py filled")
    parser.add_argument("--count", type=int, default=60, help="kernels in the sample")
    parser.add_argument("--most-points", type=int, default=48, help="of one kernel's space")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, help="end after so many seconds; --resume goes on")
    parser.add_argument("--resume", action="store_true", help="keep the rows of OUT.json that this code measured")
    parser.add_argument("--out", type=Path, required=True, help="write OUT.json and OUT.md")
    options = parser.parse_args()
    deadline = time.monotonic() + (options.limit or math.inf)
    from benchmarks.runtimes.compiled import Optc
    from optc import targets

    target = targets.load("cpu")
    distinct: dict[str, Kernel] = {}
    for name in ZOO:
        if (options.zoo / f"{name}.onnx").exists():
            for kernel in kernels_of(name, options.zoo, target, 1):
                distinct.setdefault(kernel.workload.key, kernel)
    open_choice = [
        kernel
        for kernel in distinct.values()
        if len(ranked(kernel.workload.templates, kernel.workload.group, target)) > 1
    ]
    recipe = {"seed": options.seed, "most_points": options.most_points, "commit": Optc().version()}
    report = {**recipe, "kernels": len(open_choice), "single": len(distinct) - len(open_choice), "rows": []}
    path = options.out.with_suffix(".json")
    if options.resume and path.exists():
        former = json.loads(path.read_text())
        if {key: former[key] for key in recipe} == recipe:
            report = former
    load_tvm()  # once, for all children
    done = {row["kernel"] for row in report["rows"]}
    for kernel in sample(open_choice, options.count, options.seed):
        if kernel.name in done:
            continue
        if time.monotonic() > deadline:
            print("the time is over; go on with --resume", file=sys.stderr)
            return 3
        report["rows"].append(evaluate(kernel, target, options.most_points, options.seed))
        row = report["rows"][-1]
        print(row["kernel"], f"{row['zero']['seconds'] / row['best']['seconds']:.2f}", file=sys.stderr, flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1))
        path.with_suffix(".md").write_text(markdown(report))
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The ONNX project's own backend test suite through `optc.compile(...).run`: passed, refused, or wrong.

    python benchmarks/onnx_backend.py                                      # everything, and benchmarks/ONNX_BACKEND.md
    python benchmarks/onnx_backend.py --only test_relu --only test_conv    # by prefix
    python benchmarks/onnx_backend.py --part 1/10 --out build/part1        # every tenth test, and build/part1.json

Every test whose data comes with the onnx package (node tests, simple and "light" models) is compiled for the host and
run on the suite's own data in a worker process.
A test that passes axes, pads or sizes at run time, so that no shape is known, runs a second time with these as
initializers, as exporters write them; the second runs are counted apart.
passed: every output within the suite's tolerance (see onnx_suite.py for rounding and random outputs). refused: a short
OptcError. wrong: any other numbers, any other exception, a crash or a hang.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.onnx_suite import Loaded, cases, judge, load_case, with_constants

LIMIT_SECONDS = 120
REPORT = Path(__file__).with_name("ONNX_BACKEND.md")

Result = dict[str, Any]


def run_case(case: Any, constants: bool = False) -> Result:
    """Compile and run one test; with `constants`, what decides shapes is part of the model.

    Returns:
        `outcome`, with `why` unless it passed; `class`, the row of the report; `seconds`; of passed tests the share of
        operations that ran as native code (`native`), the reasons of the rest (`fallbacks`) and whether only rounding
        separates the outputs from the suite's (`rounding`).
    """
    start = time.monotonic()
    loaded = load_case(case)
    kind = _class_of(case, loaded)
    if constants:
        original, loaded = loaded, with_constants(loaded)
        if loaded is original:
            return {"class": kind, "outcome": "unchanged"}
        kind = f"{kind}, constant shapes"
    result = {"class": kind, **_outcome(case, loaded)}
    return {**result, "seconds": round(time.monotonic() - start, 2)}


def _class_of(case: Any, loaded: Loaded) -> str:
    if case.kind != "node":
        return {"simple": "simple models", "real": "light models"}.get(case.kind, "PyTorch models")
    return "node tests, floats and integers" if loaded.is_standard else "node tests, other types"


def _outcome(case: Any, loaded: Loaded) -> Result:
    import optc
    from optc.errors import InternalError, OptcError

    try:
        with tempfile.TemporaryDirectory() as output:
            artifact = optc.compile(
                loaded.model, target="cpu", output=f"{output}/a", shapes=loaded.shapes, tune=0, verify=False
            )
            rounding = False
            for given, expected in loaded.data:
                names = [info.name for info in loaded.inputs]
                outputs = artifact.run(dict(zip(names, given, strict=False)))
                actual = [outputs[info.name] for info in loaded.model.graph.output]
                verdict = judge(case, given, actual, expected)
                if verdict.difference is not None:
                    return {"outcome": "wrong", "why": verdict.difference}
                rounding |= verdict.rounding
            return {
                "outcome": "passed",
                "rounding": rounding,
                "native": artifact.manifest.cost["native_nodes"],
                "fallbacks": [entry["reason"] for entry in artifact.manifest.fallbacks],
            }
    except InternalError as error:
        return {"outcome": "wrong", "why": f"internal error: {error.what[:300]} ({error.why})"}
    except OptcError as error:
        return {"outcome": "refused", "why": "; ".join(filter(None, (error.what, error.why)))[:400]}
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        why = f"{type(error).__name__}: {str(error)[:200]} ({place.filename}:{place.lineno})"
        return {"outcome": "wrong", "why": why}


def _worker(connection: Any) -> None:
    while (arguments := connection.recv()) is not None:
        connection.send(run_case(*arguments))


class Worker:
    """A process that runs tests one at a time and is replaced when it crashes or hangs."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self.connection, other = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=_worker, args=(other,))
        self.process.start()
        other.close()

    def run(self, case: Any, constants: bool = False) -> Result:
        """The result of a test; see `run_case`."""
        try:
            self.connection.send((case, constants))
            if self.connection.poll(LIMIT_SECONDS):
                return self.connection.recv()
            why = f"no answer after {LIMIT_SECONDS} s"
        except (EOFError, BrokenPipeError, ConnectionResetError):
            why = "the process crashed"
        self.process.kill()
        self.process.join()
        self._start()
        result = {"class": _class_of(case, load_case(case)), "outcome": "wrong", "why": why}
        return {**result, "seconds": float(LIMIT_SECONDS)}

    def close(self) -> None:
        """End the process."""
        self.connection.send(None)
        self.process.join()


def summary(results: Iterable[Result]) -> str:
    """The counts in one line."""
    counts = Counter(result["outcome"] for result in results)
    total = counts.total() or 1
    parts = (f"{name} {counts[name]} ({counts[name] / total:.1%})" for name in ("passed", "refused", "wrong"))
    return f"{counts.total()} tests: {', '.join(parts)}"


def markdown(results: dict[str, Result], command: str) -> str:
    """The report."""
    import onnx
    import onnxruntime

    lines = [
        "# The ONNX backend test suite through optc",
        "",
        f"Written by `{command}` with onnx {onnx.__version__} and onnxruntime {onnxruntime.__version__}"
        f" on {platform.machine()}.",
        "Each test is compiled with `optc.compile(model, tune=0, verify=False)` and run on the suite's data.",
        "*Native* is the share of operations, averaged over the passed tests, that ran as code of optc's own;"
        " *all native* counts tests without any fallback to onnxruntime.",
        "",
        "*Constant shapes*: the tests that pass axes, pads or sizes at run time, again with these as initializers.",
        "",
        "| tests | number | passed | refused | wrong | native | all native |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    classes: dict[str, list[Result]] = defaultdict(list)
    for result in results.values():
        classes[result["class"]].append(result)
    lines += [_row(name, members) for name, members in classes.items()]
    suite = [result for result in results.values() if "constant shapes" not in result["class"]]
    lines.append(_row("**the suite**", suite))
    rounded = [f"`{name}`" for name, result in results.items() if result.get("rounding")]
    lines += [
        "",
        "## Within rounding only",
        "",
        f"{len(rounded)} passed tests are outside the suite's tolerance, but within 8 units of their type's precision"
        " (half precision: 1) relative to the largest expected value, which is what sums in another order differ by: "
        + (", ".join(rounded) or "none")
        + ".",
    ]
    for outcome in ("wrong", "refused"):
        lines += ["", f"## {outcome.capitalize()}", ""]
        lines += _grouped(results, outcome, lambda result: [result["why"]]) or ["None."]
    lines += ["", "## Why parts of passed tests fell back to onnxruntime", ""]
    lines += _grouped(results, "passed", lambda result: sorted(set(result["fallbacks"]))) or ["None did."]
    return "\n".join(lines) + "\n"


def _row(name: str, members: list[Result]) -> str:
    counts = Counter(result["outcome"] for result in members)
    passed = [result for result in members if result["outcome"] == "passed"]
    native = sum(result["native"] for result in passed) / (len(passed) or 1)
    whole = sum(not result["fallbacks"] for result in passed)
    share = f"{counts['passed']} ({counts['passed'] / len(members):.1%})"
    cells = (name, len(members), share, counts["refused"], counts["wrong"], f"{native:.1%}", whole)
    return f"| {' | '.join(map(str, cells))} |"


def _grouped(results: dict[str, Result], outcome: str, reasons: Callable[[Result], list[str]]) -> list[str]:
    """One line for each reason, names aside, with its tests."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, result in results.items():
        if result["outcome"] == outcome:
            for reason in reasons(result):
                groups[_generalized(reason)].append(name)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return [f"* {len(names)}: {reason} — {_listed(names)}" for reason, names in ordered]


def _listed(names: list[str], most: int = 12) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"`{name}`" for name in names[:most]) + rest


def _generalized(reason: str) -> str:
    """A reason without the names of one model."""
    reason = re.sub(r"(node with name|in node|Name:|The node|The input|of node) ?\(?'?[\w/]+'?\)?", r"\1 …", reason)
    return re.sub(r"'[\w/.]+_\d+[\w/.]*'|^'[\w/.]+'|(?<=of )'[\w/.]+'|(?<=\()'[\w/.]+'", "'…'", reason)


def main() -> None:
    """Run the chosen tests one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="prefix of test names; repeatable")
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    parser.add_argument("--part", default="1/1", help="k/n: run every n-th test, starting with the k-th")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    part, parts = map(int, arguments.part.split("/"))
    whole = parts == 1 and not arguments.only
    results: dict[str, Result] = {}
    worker = Worker()
    for case in cases(arguments.only)[part - 1 :: parts]:
        for constants in (False, True):
            result = worker.run(case, constants)
            if result["outcome"] == "unchanged":
                continue
            name = f"{case.name} (constant shapes)" if constants else case.name
            results[name] = result
            if result["outcome"] != "passed":
                print(f"{result['outcome']:8} {name}: {result['why']}", file=sys.stderr, flush=True)
    worker.close()
    own = [result for result in results.values() if "constant shapes" not in result["class"]]
    again = [result for result in results.values() if "constant shapes" in result["class"]]
    print(summary(own))
    print(f"with constant shapes: {summary(again)}")
    report = markdown(results, " ".join(["python benchmarks/onnx_backend.py", *sys.argv[1:]]))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".json").write_text(json.dumps(results, indent=1))
        arguments.out.with_suffix(".md").write_text(report)
    elif whole:
        REPORT.write_text(report)


if __name__ == "__main__":
    main()

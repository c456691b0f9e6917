"""The ONNX project's own backend test suite through `optc.compile(...).run`: passed, refused, or wrong.

    python benchmarks/onnx_backend.py --out build/onnx_backend            # everything
    python benchmarks/onnx_backend.py --only test_relu --only test_conv    # by prefix

Every node test and "light" model is compiled for the host and run on the suite's own data in a worker process.
passed: every output within the suite's tolerance. refused: a short OptcError. wrong: any other numbers, any other
exception, a crash or a hang. For each passed test the share that ran as native code is recorded.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

LIMIT_SECONDS = 120


def cases(prefixes: list[str]) -> list[Any]:
    """The suite's node tests (and light models where their data is packaged), by name."""
    from onnx.backend.test.loader import load_model_tests

    found = [case for kind in ("node", "simple", "light", "pytorch-operator", "pytorch-converted")
             for case in load_model_tests(kind=kind)]
    return [case for case in found if not prefixes or any(case.name.startswith(prefix) for prefix in prefixes)]


def load_values(folder: Path, stem: str, infos: Any) -> list[Any]:
    """The suite's tensors, sequences and optionals of one data set, in order."""
    import onnx
    from onnx import numpy_helper

    values = []
    for index, info in enumerate(infos):
        content = (folder / f"{stem}_{index}.pb").read_bytes()
        kind = info.type.WhichOneof("value")
        if kind == "sequence_type":
            values.append(numpy_helper.to_list(onnx.SequenceProto.FromString(content)))
        elif kind == "optional_type":
            values.append(numpy_helper.to_optional(onnx.OptionalProto.FromString(content)))
        else:
            values.append(numpy_helper.to_array(onnx.TensorProto.FromString(content)))
    return values


def same(actual: Any, expected: Any, rtol: float, atol: float) -> bool:
    """Whether an output equals the suite's within its tolerance."""
    if isinstance(expected, list):
        return len(actual) == len(expected) and all(same(a, e, rtol, atol) for a, e in zip(actual, expected, strict=True))
    if expected is None:
        return actual is None
    expected = np.asarray(expected)
    actual = np.asarray(actual)
    if actual.shape != expected.shape or (actual.dtype != expected.dtype and expected.dtype.kind != "O"):
        return False
    if expected.dtype.kind in "OSU":
        return actual.astype(str).tolist() == expected.astype(str).tolist()
    if expected.dtype.kind not in "fc" and expected.dtype.kind in "biu":
        return bool(np.array_equal(actual, expected))
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    return bool(np.allclose(actual.astype(wide), expected.astype(wide), rtol=rtol, atol=atol, equal_nan=True))


def run_case(case: Any) -> dict:
    """Compile and run one test; the outcome and why."""
    import onnx

    import optc
    from optc.errors import InternalError, OptcError

    try:
        folder = Path(case.model_dir)
        model = onnx.load(str(folder / "model.onnx"))
        constants = {tensor.name for tensor in model.graph.initializer}
        graph_inputs = [info for info in model.graph.input if info.name not in constants]
        data = sorted(folder.glob("test_data_set_*"))
        first = load_values(data[0], "input", graph_inputs)
        shapes = {
            info.name: list(value.shape)
            for info, value in zip(graph_inputs, first, strict=True)
            if isinstance(value, np.ndarray) and value.dtype.kind not in "OSU"
        }
        with tempfile.TemporaryDirectory() as output:
            artifact = optc.compile(model, target="cpu", output=f"{output}/a", shapes=shapes, tune=0, verify=False)
            for data_set in data:
                values = load_values(data_set, "input", graph_inputs)
                expected = load_values(data_set, "output", model.graph.output)
                names = [info.name for info in graph_inputs]
                outputs = artifact.run(dict(zip(names, values, strict=True)))
                for info, want in zip(model.graph.output, expected, strict=True):
                    if not same(outputs[info.name], want, case.rtol, case.atol):
                        return {"outcome": "wrong", "why": f"output '{info.name}' differs"}
            return {"outcome": "passed", "native": artifact.manifest.get("native", {})}
    except InternalError as error:
        return {"outcome": "wrong", "why": f"internal error: {error.what[:300]}"}
    except OptcError as error:
        return {"outcome": "refused", "why": error.what[:300]}
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return {"outcome": "wrong", "why": f"{type(error).__name__}: {str(error)[:200]} ({place.filename}:{place.lineno})"}


def _worker(connection: Any) -> None:
    while (case := connection.recv()) is not None:
        connection.send(run_case(case))


class Worker:
    """A process that runs tests one at a time and is replaced when it crashes or hangs."""

    def __init__(self) -> None:
        self.connection, other = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=_worker, args=(other,), daemon=True)
        self.process.start()
        other.close()

    def run(self, case: Any) -> dict | None:
        """The outcome, or None when the process had to be given up."""
        try:
            self.connection.send(case)
            if self.connection.poll(LIMIT_SECONDS):
                return self.connection.recv()
        except (EOFError, BrokenPipeError):
            pass
        self.process.kill()
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="prefix of test names; repeatable")
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    parser.add_argument("--part", default="1/1", help="k/n: run every n-th test, starting with the k-th")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    part, parts = map(int, arguments.part.split("/"))
    chosen = cases(arguments.only)[part - 1 :: parts]
    results: dict[str, dict] = {}
    worker = Worker()
    for case in chosen:
        outcome = worker.run(case)
        if outcome is None:
            outcome = {"outcome": "wrong", "why": "the process crashed or hung"}
            worker = Worker()
        results[case.name] = outcome
        if outcome["outcome"] != "passed":
            print(f"{outcome['outcome']:8} {case.name}: {outcome['why']}", file=sys.stderr, flush=True)
    counts = Counter(result["outcome"] for result in results.values())
    total = len(results) or 1
    summary = ", ".join(f"{name} {counts[name]} ({counts[name] / total:.1%})" for name in ("passed", "refused", "wrong"))
    print(f"{total} tests: {summary}")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".json").write_text(json.dumps({"counts": counts, "results": results}, indent=1))


if __name__ == "__main__":
    main()

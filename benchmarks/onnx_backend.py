"""The ONNX project's own backend test suite through `optc.compile(...).run`: passed, refused, or wrong.

    python benchmarks/onnx_backend.py --out build/onnx_backend            # everything
    python benchmarks/onnx_backend.py --only test_relu --only test_conv    # by prefix

Every test whose data comes with the onnx package (node tests, simple and "light" models) is compiled for the host and run on the suite's own data in a worker process.
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
    """The suite's tests whose data comes with the onnx package, by name."""
    from onnx.backend.test.loader import load_model_tests

    kinds = ("node", "simple", "pytorch-operator", "pytorch-converted", "real")
    found = [case for kind in kinds for case in load_model_tests(kind=kind)]
    return [case for case in found if not prefixes or any(case.name.startswith(prefix) for prefix in prefixes)]


def load_case(case: Any) -> tuple[Any, list[tuple[list[Any], list[Any]]]]:
    """The model of a test and its data sets as (inputs, expected outputs)."""
    import onnx

    if case.model is not None:
        return case.model, [
            (list(map(to_value, given)), list(map(to_value, wanted))) for given, wanted in case.data_sets
        ]
    if case.model_dir is not None:
        folder = Path(case.model_dir)
        model = onnx.load(str(folder / "model.onnx"))
        sets = sorted(folder.glob("test_data_set_*"))
        return model, [
            (load_values(each, "input", graph_inputs(model)), load_values(each, "output", model.graph.output))
            for each in sets
        ]
    path = Path(onnx.__file__).parent.parent / case.url
    model = onnx.load(str(path))
    expected = onnx.TensorProto.FromString(path.with_name(f"{path.stem}_output_0.pb").read_bytes())
    return model, [([ramp(info) for info in graph_inputs(model)], [to_value(expected)])]


def graph_inputs(model: Any) -> list[Any]:
    """The inputs of a model that are not initializers."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [info for info in model.graph.input if info.name not in constants]


def ramp(info: Any) -> np.ndarray:
    """The input that the suite feeds to its light models: 0 … 1 in equal steps."""
    shape = [dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim]
    return (np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)).astype(np.float32)


def to_value(item: Any) -> Any:
    """A tensor, sequence or optional of the suite as NumPy arrays and lists."""
    import onnx
    from onnx import numpy_helper

    if isinstance(item, onnx.TensorProto):
        return numpy_helper.to_array(item)
    if isinstance(item, onnx.SequenceProto):
        return numpy_helper.to_list(item)
    if isinstance(item, onnx.OptionalProto):
        return numpy_helper.to_optional(item)
    return item if item is None or isinstance(item, list) else np.asarray(item)


def load_values(folder: Path, stem: str, infos: Any) -> list[Any]:
    """The stored values of one data set, in the order of `infos`."""
    import onnx

    protos = {"sequence_type": onnx.SequenceProto, "optional_type": onnx.OptionalProto}
    return [
        to_value(
            protos.get(info.type.WhichOneof("value"), onnx.TensorProto).FromString(
                (folder / f"{stem}_{index}.pb").read_bytes()
            )
        )
        for index, info in enumerate(infos)
    ]


def same(actual: Any, expected: Any, rtol: float, atol: float) -> bool:
    """Whether an output equals the suite's within its tolerance."""
    if isinstance(expected, list):
        return len(actual) == len(expected) and all(
            same(a, e, rtol, atol) for a, e in zip(actual, expected, strict=True)
        )
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
    import optc
    from optc.errors import InternalError, OptcError

    try:
        model, data = load_case(case)
        names = [info.name for info in graph_inputs(model)]
        shapes = {
            name: list(value.shape)
            for name, value in zip(names, data[0][0], strict=False)
            if isinstance(value, np.ndarray) and value.dtype.kind not in "OSU"
        }
        with tempfile.TemporaryDirectory() as output:
            artifact = optc.compile(model, target="cpu", output=f"{output}/a", shapes=shapes, tune=0, verify=False)
            for given, expected in data:
                outputs = artifact.run(dict(zip(names, given, strict=False)))
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
        return {
            "outcome": "wrong",
            "why": f"{type(error).__name__}: {str(error)[:200]} ({place.filename}:{place.lineno})",
        }


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
    summary = ", ".join(
        f"{name} {counts[name]} ({counts[name] / total:.1%})" for name in ("passed", "refused", "wrong")
    )
    print(f"{total} tests: {summary}")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".json").write_text(json.dumps({"counts": counts, "results": results}, indent=1))


if __name__ == "__main__":
    main()

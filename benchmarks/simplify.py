"""What `simplify` makes of the model zoo: operations before and after, time, and the error that it adds.

    python benchmarks/simplify.py --zoo build/zoo [--histogram] [model …]

Each model is imported with bound shapes, simplified, verified, written back to ONNX and run in onnxruntime beside the
original, both with onnxruntime's own optimizations off. The error is the largest difference over the largest output
(at least 1, the scale of a probability). Exits with 1 if one is above the tolerance, takes too long, or has shape
arithmetic left.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.zoo import DEFAULT_FOLDER, Input, example_inputs
from optc.frontends import load_model
from optc.ir.core import Module
from optc.ir.verifier import verify
from optc.ops.onnx_export import to_onnx_model
from optc.passes.base import PassContext
from optc.passes.manager import run_pipeline
from optc.passes.pipeline import parse_pipeline

TOLERANCE = 1e-5
SECONDS = 2.0
SHAPE_ARITHMETIC = {"onnx.Shape", "onnx.Size", "onnx.ConstantOfShape", "onnx.Range", "onnx.NonZero"}


def session(model: str | bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def histogram(module: Module) -> Counter[str]:
    names = (item.name.removeprefix("onnx.") for item in module.walk() if item.name != "optc.constant")
    return Counter(names)


def error(path: Path, module: Module, inputs: dict[str, np.ndarray]) -> float:
    """The largest difference between the original and the simplified model, relative to the scale of each output."""
    expected = session(str(path)).run(None, inputs)
    simplified = session(to_onnx_model(module).SerializeToString())
    wanted = {item.name for item in simplified.get_inputs()}
    found = simplified.run(None, {name: array for name, array in inputs.items() if name in wanted})
    return max(
        float(np.abs(a.astype(np.float64) - b).max() / max(1.0, np.abs(a).max()))
        for a, b in zip(expected, found, strict=True)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names in the manifest (default: all)")
    parser.add_argument("--zoo", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--passes", default="simplify")
    parser.add_argument("--histogram", action="store_true", help="print the kinds of operations before and after")
    arguments = parser.parse_args()
    manifest = json.loads((arguments.zoo / "manifest.json").read_text())
    failed = False
    print(f"{'model':24} {'before':>6} {'after':>6} {'seconds':>8} {'error':>9}")
    for name in arguments.models or manifest:
        entry = manifest[name]
        path = arguments.zoo / entry["file"]
        module = load_model(path, shapes=entry["shapes"]).module
        before = histogram(module)
        start = time.perf_counter()
        run_pipeline(module, parse_pipeline(arguments.passes), PassContext())
        seconds = time.perf_counter() - start
        verify(module)
        specs = {key: Input(tuple(shape), *entry["ranges"].get(key, (-1, 1))) for key, shape in entry["shapes"].items()}
        worst = error(path, module, example_inputs(onnx.load(path), specs))
        left = sorted(SHAPE_ARITHMETIC & {item.name for item in module.walk()})
        bad = worst > TOLERANCE or seconds > SECONDS or bool(left)
        failed = failed or bad
        after = histogram(module)
        note = f"  FAILED {', '.join(left)}" if bad else ""
        print(f"{name:24} {before.total():6} {after.total():6} {seconds:8.3f} {worst:9.1e}{note}", flush=True)
        if arguments.histogram:
            for kinds in (before, after):
                print("   ", ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

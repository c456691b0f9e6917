"""Latency of quantized models: optc, onnxruntime and OpenVINO on the same QDQ files, beside the float models.

    python benchmarks/integer.py --zoo build/zoo --out benchmarks/INTEGER.md

onnxruntime's static quantizer writes the files (unsigned activations, signed weights per channel), calibrated on noise:
latency does not depend on what the ranges are. Code for plain AVX2 is also given weights of 7 bits, with which two
products fit 16 bits; OpenVINO is held to AVX2 by oneDNN's environment variable. Transformers also come from its dynamic
quantizer, which finds the ranges of activations in every run. Every combination runs in a process of its own that is
stopped while another is measured; figures are medians over interleaved rounds. Accuracy is measured by
benchmarks/quantization.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.peers import facts_of, prepare, prepared_folder, versions_of  # noqa: E402
from benchmarks.runtimes import Inputs, Subject  # noqa: E402
from benchmarks.worker import Worker, WorkerError  # noqa: E402
from benchmarks.zoo import ZOO, example_inputs  # noqa: E402

CONVOLUTIONAL = ("resnet18", "resnet50", "mobilenetv2_100", "efficientnet_lite0")
TRANSFORMERS = ("minilm_l6",)
MODELS = (*CONVOLUTIONAL, *TRANSFORMERS)
CALIBRATION = 2  # samples


@dataclass(frozen=True)
class Contender:
    """A runtime with the kind of model it is given.

    Attributes:
        label: in the table.
        peer: of benchmarks/runtimes.
        form: a key of `FORMS`; empty: the float model.
        over: the label of what its latency is shown as a share of; empty: its own.
    """

    label: str
    peer: str
    form: str
    over: str = ""

    def fits(self, model: str) -> bool:
        """Whether a model comes in the form: static ranges need convolutions, dynamic ones matrix products."""
        return not self.form or (self.form == "dynamic") == (model in TRANSFORMERS)


CONTENDERS = (
    Contender("onnxruntime f32", "onnxruntime", ""),
    Contender("onnxruntime int8", "onnxruntime", "int8", "onnxruntime f32"),
    Contender("OpenVINO int8", "openvino", "int8"),
    Contender("onnxruntime dynamic int8", "onnxruntime", "dynamic", "onnxruntime f32"),
    Contender("optc f32", "optc", ""),
    Contender("optc int8", "optc", "int8", "optc f32"),
    Contender("optc dynamic int8", "optc", "dynamic", "optc f32"),
    Contender("OpenVINO int8, AVX2", "openvino-avx2", "int8"),
    Contender("optc f32, AVX2", "optc-avx2", ""),
    Contender("optc int8, AVX2", "optc-avx2", "int8", "optc f32, AVX2"),
    Contender("optc int7, AVX2", "optc-avx2", "int7", "optc f32, AVX2"),
)


def _static(model: Path, inputs: Inputs, path: Path, bits: int) -> None:
    """The QDQ form, with weights of 8 or 7 bits."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Noise(CalibrationDataReader):
        def __init__(self) -> None:
            random = np.random.default_rng(0)
            shapes = {name: array.shape for name, array in inputs.items()}
            self.samples = iter(
                [
                    {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}
                    for _ in range(CALIBRATION)
                ]
            )

        def get_next(self) -> Inputs | None:
            return next(self.samples, None)

    prepared = path.with_suffix(".prepared.onnx")
    quant_pre_process(str(model), str(prepared))
    quantize_static(
        str(prepared),
        str(path),
        Noise(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        reduce_range=bits == 7,
    )
    prepared.unlink()


def _dynamic(model: Path, inputs: Inputs, path: Path) -> None:
    """The form whose matrix products find the ranges of what they read."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(model), str(path), weight_type=QuantType.QInt8)


FORMS: dict[str, Callable[[Path, Inputs, Path], None]] = {
    "int8": partial(_static, bits=8),
    "int7": partial(_static, bits=7),
    "dynamic": _dynamic,
}
"""Quantizers that write a model to a path, by what they make."""


def subject_of(model: str, form: str, threads: int, zoo: Path, work: Path) -> Subject:
    """What a contender is given; quantized files are written where they are missing."""
    path = (zoo / f"{model}.onnx").resolve()
    inputs = example_inputs(onnx.load(str(path), load_external_data=False), ZOO[model].inputs)
    if not form:
        return Subject(model, path, inputs, threads, work)
    name = f"{model}-{form}"
    written = (work / f"{name}.onnx").resolve()
    if not written.exists():
        written.parent.mkdir(parents=True, exist_ok=True)
        FORMS[form](path, inputs, written)
    return Subject(name, written, inputs, threads, work)


def measured(subjects: dict[str, Subject], work: Path, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of a call in each round by label; contenders that fail are left out."""
    workers: dict[str, Worker] = {}
    times: dict[str, list[float]] = {}
    try:
        for contender in CONTENDERS:
            subject = subjects.get(contender.label)
            if subject is None:
                continue
            worker = workers[contender.label] = Worker(contender.peer, subject.threads)
            try:
                worker.ask("load", subject, prepared_folder(contender.peer, subject, work))
                times[contender.label] = []
            except WorkerError as error:
                print(f"{subject.name} on {contender.label}: {error}", file=sys.stderr, flush=True)
        for _ in range(rounds):
            for label, values in times.items():
                values.append(workers[label].ask("measure", seconds))
    finally:
        for worker in workers.values():
            worker.end()
    return times


def report(rows: dict[str, dict[str, dict[str, float]]], facts: dict) -> str:
    """The Markdown text; milliseconds by threads, model and label."""
    lines = [
        "# Latency of quantized models",
        "",
        f"{facts['processor']}; medians over interleaved rounds, in milliseconds (share of the same runtime's f32); "
        "written by `benchmarks/integer.py`. The machine is shared: only ratios within a column count, and single ones "
        "move by up to 15% from run to run.",
        "",
    ]
    for threads, models in rows.items():
        lines += [f"## {threads} thread{'s' if threads != '1' else ''}", ""]
        lines += [f"| | {' | '.join(models)} |", f"| --- |{' ---: |' * len(models)}"]
        for contender in CONTENDERS:
            cells = [_cell(found, contender) for found in models.values()]
            if any(cells):
                lines.append(f"| {contender.label} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _cell(found: dict[str, float], contender: Contender) -> str:
    value, base = found.get(contender.label), found.get(contender.over)
    if value is None:
        return ""
    return f"{value:.2f} ({value / base:.2f})" if base else f"{value:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, help="folder that benchmarks/zoo.py filled")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=MODELS, metavar="NAME")
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.25, help="per contender and round")
    parser.add_argument("--prepare", action="store_true", help="quantize and compile only")
    parser.add_argument("--contenders", nargs="*", metavar="LABEL", help="default: all")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "integer", help="folder of prepared files")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json; rows of other models are kept")
    options = parser.parse_args()
    chosen = [each for each in CONTENDERS if not options.contenders or each.label in options.contenders]
    versions, missing = versions_of(sorted({each.peer for each in chosen}))
    for peer, reason in missing.items():
        print(f"{peer}: {reason}", file=sys.stderr)
    known = options.out.with_suffix(".json") if options.out else None
    rows: dict[str, dict[str, dict[str, float]]] = {}
    if known is not None and known.exists():
        rows = json.loads(known.read_text())["milliseconds"]
    for threads in options.threads:
        for model in options.models:
            subjects = {}
            for each in chosen:
                if each.peer not in versions or not each.fits(model):
                    continue
                subject = subject_of(model, each.form, threads, options.zoo, options.work)
                failure = prepare(each.peer, subject, options.work, versions)
                if failure is None:
                    subjects[each.label] = subject
            if options.prepare:
                continue
            times = measured(subjects, options.work, options.rounds, options.seconds)
            found = {label: statistics.median(values) * 1e3 for label, values in times.items() if values}
            rows.setdefault(str(threads), {})[model] = found
            print(model, threads, {label: round(value, 3) for label, value in found.items()}, flush=True)
            if options.out is not None:
                facts = facts_of(versions_of(["optc", *versions])[0])
                options.out.with_suffix(".md").write_text(report(rows, facts))
                options.out.with_suffix(".json").write_text(
                    json.dumps({"facts": facts, "milliseconds": rows}, indent=1)
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())

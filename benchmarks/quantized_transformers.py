"""Methods for matrix products on two transformers of the zoo: GPTQ beside the nearest numbers, smoothing beside none.

    python benchmarks/quantized_transformers.py ZOO [--record build/transformers.json]
    python benchmarks/quantized_transformers.py ZOO --latency [--threads 1 2]

What is measured is the output against that of the float model on samples that were not calibrated on: signal over error
in decibels, and the mean cosine of the angle between the two (for minilm_l6: of sentence embeddings). Sentences are
random tokens from the frequent part of the vocabulary, images are noise; vit_tiny has untrained weights. `--latency`
times one call instead, of the model in float and with int8 weights and activations (static ranges): leave the machine
alone then.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.integer import CONTENDERS, measured
from benchmarks.peers import prepare, subject_of, versions_of
from optc.driver.quantization.errors import Noise
from optc.driver.quantization.post_training import Methods
from optc.driver.quantization.quantize import Quantizer
from optc.driver.quantization.running import Runner
from optc.ops.onnx_export import to_onnx_model

Batch = dict[str, np.ndarray]

TOKENS = 64
FREQUENT = (1996, 8000)
"""Where the vocabulary of BERT keeps whole words, the most frequent first."""


def sentences(random: np.random.Generator) -> Batch:
    """Eight sentences, between the tokens that begin and end one."""
    ids = random.integers(*FREQUENT, size=(8, TOKENS))
    ids[:, 0], ids[:, -1] = 101, 102
    return {
        "input_ids": ids.astype(np.int64),
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }


def pictures(random: np.random.Generator) -> Batch:
    """Four images of noise."""
    return {"x": random.uniform(-2, 2, size=(4, 3, 224, 224)).astype(np.float32)}


@dataclass(frozen=True)
class Case:
    """A model of the zoo.

    Attributes:
        name: in the zoo.
        sample: makes a batch of its inputs.
        output: which of its outputs counts.
        batches: that it is calibrated on, and as many again that it is measured on.
    """

    name: str
    sample: Callable[[np.random.Generator], Batch]
    output: int
    batches: int


CASES = {
    "minilm_l6": Case("minilm_l6", sentences, 1, 8),
    "vit_tiny": Case("vit_tiny_patch16_224", pictures, 0, 4),
}

METHODS: dict[str, tuple[str, Methods, bool]] = {
    "int8 weights, nearest": ("int8-weights", Methods(), False),
    "int8 weights, GPTQ": ("int8-weights", Methods(rounding="gptq"), False),
    "int4 weights, nearest": ("int4-weights", Methods(), False),
    "int4 weights, GPTQ": ("int4-weights", Methods(rounding="gptq"), False),
    "int8 weights and activations": ("int8", Methods(), False),
    "int8 weights and activations, smoothed": ("int8", Methods(), True),
}
"""By what the table calls them: scheme, methods, and whether outliers move into weights."""

TIMED = tuple(
    each
    for each in CONTENDERS
    if each.label in ("onnxruntime f32", "onnxruntime int8", "OpenVINO int8", "optc f32", "optc int8")
)
"""What latencies are compared of."""

ROUNDS, SECONDS = 7, 0.25
"""Of a measurement of latency, for each runtime."""


def measure(path: Path, case: Case, name: str) -> dict[str, Any]:
    """Decibels, cosine and seconds of one method on one model."""
    scheme, methods, smooth = METHODS[name]
    random = np.random.default_rng(0)
    calibration, held_out = ([case.sample(random) for _ in range(case.batches)] for _ in range(2))
    started = time.process_time()
    quantizer = Quantizer.of(path, calibration, smooth=smooth)
    became = quantizer.write(quantizer.plan(scheme, methods))
    seconds = time.process_time() - started
    exact, coded = Runner(Quantizer.of(path, calibration).module), Runner(became)
    noise, cosines = Noise(), []
    for feeds in held_out:
        wanted, found = exact.run(feeds)[case.output], coded.run(feeds)[case.output]
        noise.add(wanted, found)
        lengths = np.linalg.norm(wanted, axis=-1) * np.linalg.norm(found, axis=-1)
        cosines.append((wanted * found).sum(axis=-1) / lengths)
    return {"snr": noise.snr_db, "cosine": float(np.concatenate(cosines).mean()), "seconds": seconds}


def latency(zoo: Path, work: Path, case: Case, threads: int, *, only_prepare: bool = False) -> dict[str, float]:
    """Milliseconds of a call by label, medians over interleaved rounds; what is compiled is kept in `work`."""
    plain = subject_of(case.name, zoo, threads, work)
    written = (work / f"{case.name}-static.onnx").resolve()
    if not written.exists():
        random = np.random.default_rng(0)
        quantizer = Quantizer.of(plain.model, [case.sample(random) for _ in range(case.batches)])
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_bytes(to_onnx_model(quantizer.write(quantizer.plan("int8"))).SerializeToString())
    coded = replace(plain, name=written.stem, model=written)
    versions, _ = versions_of(sorted({each.peer for each in TIMED}))
    subjects = {}
    for each in TIMED:
        subject = coded if each.form else plain
        if each.peer in versions and prepare(each.peer, subject, work, versions) is None:
            subjects[each.label] = subject
    if only_prepare:
        return {}
    times = measured(subjects, work, ROUNDS, SECONDS)
    return {label: 1e3 * statistics.median(values) for label, values in times.items() if values}


def latency_section(record: dict[str, dict[str, Any]]) -> list[str]:
    """Markdown lines; none where nothing was timed."""
    columns = [(label, key) for label in CASES for key in record if key.startswith(f"{label}|latency|")]
    if not columns:
        return []
    heads = (f"{label}: {key.rpartition('|')[2]} thread{'' if key.endswith('|1') else 's'}" for label, key in columns)
    lines = [
        "",
        "Milliseconds of a call, int8 being weights and activations in QDQ form; medians over interleaved rounds:",
        "",
        f"| | {' | '.join(heads)} |",
        f"| --- |{' ---: |' * len(columns)}",
    ]
    for each in TIMED:
        cells = [f"{record[key][each.label]:.2f}" if each.label in record[key] else "" for _, key in columns]
        lines.append(f"| {each.label} | {' | '.join(cells)} |")
    return lines


def table(record: dict[str, dict[str, Any]]) -> list[str]:
    """Markdown lines."""
    lines = ["| | " + " | ".join(f"{name}: dB | cosine" for name in CASES) + " |"]
    lines.append("| --- |" + " ---: | ---: |" * len(CASES))
    for name in METHODS:
        cells = []
        for case in CASES:
            entry = record.get(f"{case}|{name}")
            cells += ["", ""] if entry is None else [f"{entry['snr']:.1f}", f"{entry['cosine']:.5f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def found_of(label: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """An entry of the record: of a method, or the latency at so many threads."""
    case, (what, _, threads) = CASES[label], name.partition("|")
    if what == "latency":
        return latency(options.zoo, options.work, case, int(threads), only_prepare=options.prepare)
    return measure(options.zoo / f"{case.name}.onnx", case, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--record", type=Path, default=Path("build/transformers.json"))
    parser.add_argument("--latency", action="store_true", help="time calls")
    parser.add_argument("--prepare", action="store_true", help="with --latency: quantize and compile, time nothing")
    parser.add_argument("--models", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--work", type=Path, default=Path("build/transformers"), help="folder of compiled models")
    options = parser.parse_args()
    record = json.loads(options.record.read_text()) if options.record.exists() else {}
    options.record.parent.mkdir(parents=True, exist_ok=True)
    for label in options.models:
        if options.latency:
            wanted = [f"latency|{threads}" for threads in options.threads]
        else:
            wanted = list(METHODS)
        for name in wanted:
            if (key := f"{label}|{name}") in record:
                continue
            found = found_of(label, name, options)
            print(key, found, flush=True)
            if found:
                record[key] = found
                options.record.write_text(json.dumps(record, indent=1))
    print("\n".join([*table(record), *latency_section(record)]))


if __name__ == "__main__":
    main()

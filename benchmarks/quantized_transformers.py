"""Methods for matrix products on two transformers of the zoo: GPTQ beside the nearest numbers, SmoothQuant beside none.

    python benchmarks/quantized_transformers.py ZOO [--record build/transformers.json]

What is measured is the output against that of the float model on samples that were not calibrated on: signal over error
in decibels, and the mean cosine of the angle between the two (for minilm_l6: of sentence embeddings). Sentences are
random tokens from the frequent part of the vocabulary, images are noise; vit_tiny has untrained weights.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from optc.driver.quantization.errors import Noise
from optc.driver.quantization.post_training import Methods
from optc.driver.quantization.quantize import Quantizer
from optc.driver.quantization.running import Runner

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
        file: its name.
        sample: makes a batch of its inputs.
        output: which of its outputs counts.
        batches: that it is calibrated on, and as many again that it is measured on.
    """

    file: str
    sample: Callable[[np.random.Generator], Batch]
    output: int
    batches: int


CASES = {
    "minilm_l6": Case("minilm_l6.onnx", sentences, 1, 8),
    "vit_tiny": Case("vit_tiny_patch16_224.onnx", pictures, 0, 4),
}

METHODS: dict[str, tuple[str, Methods, float | None]] = {
    "int8 weights, nearest": ("int8-weights", Methods(), None),
    "int8 weights, GPTQ": ("int8-weights", Methods(rounding="gptq"), None),
    "int4 weights, nearest": ("int4-weights", Methods(), None),
    "int4 weights, GPTQ": ("int4-weights", Methods(rounding="gptq"), None),
    "int8 weights and activations": ("int8", Methods(), None),
    "int8 weights and activations, SmoothQuant": ("int8", Methods(), 0.5),
}
"""By what the table calls them: scheme, methods, and the strength of smoothing."""


def measure(path: Path, case: Case, name: str) -> dict[str, Any]:
    """Decibels, cosine and seconds of one method on one model."""
    scheme, methods, strength = METHODS[name]
    random = np.random.default_rng(0)
    calibration, held_out = ([case.sample(random) for _ in range(case.batches)] for _ in range(2))
    started = time.process_time()
    quantizer = Quantizer.of(path, calibration, smooth=strength)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--record", type=Path, default=Path("build/transformers.json"))
    options = parser.parse_args()
    record = json.loads(options.record.read_text()) if options.record.exists() else {}
    options.record.parent.mkdir(parents=True, exist_ok=True)
    for label, case in CASES.items():
        for name in METHODS:
            if (key := f"{label}|{name}") not in record:
                record[key] = measure(options.zoo / case.file, case, name)
                options.record.write_text(json.dumps(record, indent=1))
                print(key, record[key], flush=True)
    print("\n".join(table(record)))


if __name__ == "__main__":
    main()

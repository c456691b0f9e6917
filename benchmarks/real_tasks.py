"""What int8 costs on real tasks: text recognition, voice activity and file types, on samples that nothing looked at.

    python benchmarks/real_tasks.py ZOO_FOLDER [--packages build/zoo/packages] [--only ocr vad files]

* ocr: PP-OCR's recognizer reads lines that this script renders in the DejaVu and Liberation fonts of Debian; the score
  is the share of right characters (one less the edit distance over the length).
* vad: silero-vad hears sentences that espeak-ng speaks in several voices, with noise below and pauses of noise alone;
  the score is the mean of the shares of speech and of noise that it tells rightly, in windows of 32 ms.
* files: magika names the types of files of this machine whose names say what they are.

Each task has three sets of samples: for calibration without labels, for checking, and held out for the score. First
every layer becomes int8. Where that loses more than LIMIT points on the checked set, precisions are searched for with
ever higher signal-to-noise ratios until it does not; what stays in float is listed with the reason.
"""

from __future__ import annotations

import argparse
import json
import random
import string
import subprocess
import sys
import tempfile
import wave
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
from onnx import numpy_helper

from optc.driver.quantization.preparation import prepare
from optc.driver.quantization.quantize import Quantizer
from optc.driver.quantization.running import Runner
from optc.frontends import load_model
from optc.ir.core import Module

LIMIT = 0.5
BOUNDS = (15.0, 20.0, 25.0, 30.0, 35.0, 40.0)
HERE = Path(__file__).resolve().parent
FONTS = Path("/usr/share/fonts/truetype")
SETS = ("calibration", "check", "held out")


class Task(ABC):
    """A model, samples and a score in percent."""

    name: str
    score_name: str

    @abstractmethod
    def model(self) -> onnx.ModelProto:
        """The float model."""

    def shapes(self) -> dict[str, tuple[int, ...]] | None:
        """To bind."""
        return None

    @abstractmethod
    def calibration(self) -> list[dict[str, np.ndarray]]:
        """Batches without labels."""

    @abstractmethod
    def score(self, module: Module, part: str) -> float:
        """Of a model on one of the SETS."""


def edit_distance(first: str, second: str) -> int:
    """Levenshtein's."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


class Ocr(Task):
    """Lines of words and numbers, black on white or the reverse, slightly blurred by scaling."""

    name, score_name = "ppocr_rec", "right characters"
    counts: ClassVar[dict[str, int]] = {"calibration": 32, "check": 160, "held out": 240}
    width = 320

    def __init__(self, zoo: Path, packages: Path) -> None:
        self.path = zoo / "ppocr_rec.onnx"
        words = {word for path in (HERE.parent / "docs").glob("*.md") for word in path.read_text().split()}
        self.words = sorted(word.strip(string.punctuation) for word in words if word.isascii() and 2 < len(word) < 12)
        self.fonts = sorted([*FONTS.glob("dejavu/*.ttf"), *FONTS.glob("liberation*/*.ttf")])
        self.fonts = [font for font in self.fonts if "Math" not in font.name]
        self.characters = ["", *self._dictionary(), " "]
        self.samples = {part: list(self._lines(part)) for part in SETS}

    def _dictionary(self) -> list[str]:
        found = {item.key: item.value for item in onnx.load(self.path).metadata_props}
        return found["character"].splitlines()

    def model(self) -> onnx.ModelProto:
        return onnx.load(self.path)

    def _lines(self, part: str) -> Iterator[tuple[np.ndarray, str]]:
        from PIL import Image, ImageDraw, ImageFont

        chance = random.Random(f"lines {part}")
        # Fonts of the held-out set occur in no other.
        third = len(self.fonts) // 3
        fonts = self.fonts[::3] if part == "held out" else [f for n, f in enumerate(self.fonts) if n % 3]
        assert third > 3, "install fonts-dejavu and fonts-liberation"
        while True:
            for _ in range(self.counts[part]):
                text = " ".join(chance.choice(self.words) for _ in range(chance.randint(2, 3)))
                if chance.random() < 0.5:
                    text += f" {chance.randint(1, 99999)}"
                font = ImageFont.truetype(str(chance.choice(fonts)), chance.randint(20, 36))
                left, top, right, bottom = font.getbbox(text)
                dark, light = chance.randint(0, 70), chance.randint(180, 255)
                ink, paper = (dark, light) if chance.random() < 0.7 else (light, dark)
                image = Image.new("L", (int(right - left) + 16, int(bottom - top) + 12), paper)
                ImageDraw.Draw(image).text((8 - left, 6 - top), text, fill=ink, font=font)
                wide = min(self.width, round(image.width * 48 / image.height))
                image = image.resize((wide, 48), Image.Resampling.BILINEAR)
                pixels = np.asarray(image, np.float32) / 127.5 - 1.0
                line = np.zeros((3, 48, self.width), np.float32)
                line[:, :, :wide] = pixels
                yield line, text
            return

    def calibration(self) -> list[dict[str, np.ndarray]]:
        lines = np.stack([line for line, _ in self.samples["calibration"]])
        return [{"x": part} for part in np.split(lines, len(lines) // 16)]

    def score(self, module: Module, part: str) -> float:
        runner, wrong, total = Runner(module), 0, 0
        samples = self.samples[part]
        for start in range(0, len(samples), 16):
            group = samples[start : start + 16]
            (scores,) = runner.run({"x": np.stack([line for line, _ in group])})
            for row, (_, text) in zip(scores.argmax(axis=2), group, strict=True):
                kept = [code for at, code in enumerate(row) if code and (at == 0 or code != row[at - 1])]
                wrong += min(len(text), edit_distance("".join(self.characters[code] for code in kept), text))
                total += len(text)
        return 100.0 * (1 - wrong / total)


class Vad(Task):
    """Speech with noise 10 to 25 dB below it, between stretches of noise alone."""

    name, score_name = "silero_vad", "right windows, mean of speech and noise"
    rate, window, context = 16_000, 512, 64
    voices: ClassVar[dict[str, tuple[str, ...]]] = {
        "calibration": ("en-us+m1", "en-us+f2", "de+m3"),
        "check": ("en-gb+m2", "fr+f1", "es+m4", "en-us+f4"),
        "held out": ("en-us+m7", "it+f3", "en-gb-scotland+m5", "pt+f5", "de+f2", "en-us+croak"),
    }
    sentences = (
        "The quick brown fox jumps over the lazy dog near the river bank",
        "Please send the report before noon and call me back tomorrow",
        "Seven hundred and forty two people visited the museum last week",
        "Rain is expected in the north while the south stays dry and warm",
    )

    def __init__(self, zoo: Path, packages: Path) -> None:
        self.path = zoo / "silero_vad.onnx"
        self.clips = {part: [self._clip(part, n) for n in range(2 * len(self.voices[part]))] for part in SETS}

    def model(self) -> onnx.ModelProto:
        """For one sample rate, which decides the branch that is compiled."""
        model = onnx.load(self.path)
        model.graph.input.remove(next(each for each in model.graph.input if each.name == "sr"))
        model.graph.initializer.append(numpy_helper.from_array(np.array(self.rate, np.int64), "sr"))
        return model

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"input": (1, self.window + self.context), "state": (2, 1, 128)}

    def _clip(self, part: str, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples, and for each window whether it holds speech; -1 between words and at their edges."""
        chance = np.random.default_rng([SETS.index(part), number])
        voice = self.voices[part][number % len(self.voices[part])]
        text = self.sentences[(number + SETS.index(part)) % len(self.sentences)]
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "speech.wav"
            subprocess.run(["espeak-ng", "-v", voice, "-w", str(path), text], check=True, capture_output=True)
            with wave.open(str(path)) as opened:
                source, frames = opened.getframerate(), opened.readframes(opened.getnframes())
        speech = np.frombuffer(frames, np.int16).astype(np.float32) / 32768
        places = np.arange(int(len(speech) * self.rate / source)) * source / self.rate
        speech = np.interp(places, np.arange(len(speech)), speech).astype(np.float32)
        pause = np.zeros(self.rate, np.float32)
        clean = np.concatenate([pause, speech, pause, pause])
        power = float(np.square(speech).mean())
        colour = np.convolve(chance.normal(size=len(clean)), np.ones(chance.integers(1, 6)), "same")
        colour *= np.sqrt(power / np.square(colour).mean()) * 10 ** (-chance.uniform(10, 25) / 20)
        clean = clean[: len(clean) // self.window * self.window]
        energy = np.square(clean.reshape(-1, self.window)).mean(axis=1)
        near = np.convolve(energy > 1e-6 * power, np.ones(9), "same") > 0
        labels = np.where(energy > 0.05 * power, 1, np.where(near, -1, 0))
        return (clean + colour[: len(clean)]).astype(np.float32), labels

    def _windows(self, runner: Runner, clip: np.ndarray) -> Iterator[tuple[dict[str, np.ndarray], float]]:
        state = np.zeros((2, 1, 128), np.float32)
        padded = np.concatenate([np.zeros(self.context, np.float32), clip])
        for start in range(0, len(clip), self.window):
            feeds = {"input": padded[None, start : start + self.window + self.context], "state": state}
            probability, state = runner.run(feeds)
            yield feeds, float(probability.reshape(-1)[0])

    def calibration(self) -> list[dict[str, np.ndarray]]:
        # Simplified: onnxruntime 1.31 crashes on a branch whose condition is an initializer.
        module = load_model(self.model(), self.shapes()).module
        prepare(module)
        runner = Runner(module)
        windows = [feeds for clip, _ in self.clips["calibration"] for feeds, _ in self._windows(runner, clip)]
        return windows[::6]

    def score(self, module: Module, part: str) -> float:
        right, count, runner = np.zeros(2), np.zeros(2), Runner(module)
        for clip, labels in self.clips[part]:
            for (_, probability), label in zip(self._windows(runner, clip), labels, strict=True):
                if label >= 0:
                    right[label] += (probability > 0.5) == bool(label)
                    count[label] += 1
        return 100.0 * float((right / count).mean())


class Files(Task):
    """Files of Python's and the system's folders, by their suffix."""

    name, score_name = "magika", "right types"
    kinds: ClassVar[dict[str, str]] = {
        ".py": "python", ".md": "markdown", ".json": "json", ".html": "html", ".css": "css", ".js": "javascript",
        ".c": "c", ".png": "png", ".xml": "xml", ".gz": "gzip", ".rst": "rst", ".toml": "toml", ".yaml": "yaml",
        ".yml": "yaml", ".pyc": "pythonbytecode", ".pl": "perl", ".ttf": "ttf", ".svg": "svg", ".npz": "npz",
        ".npy": "npy", ".onnx": "onnx", ".whl": "zip", ".zip": "zip", ".sh": "shell", ".lua": "lua", ".tcl": "tcl",
        ".csv": "csv", ".wav": "wav", ".ipynb": "ipynb", ".rb": "ruby", ".java": "java", ".ini": "ini",
        ".cmake": "cmake", ".ts": "typescript", ".go": "go", ".jar": "jar",
    }  # fmt: skip
    most: ClassVar[dict[str, int]] = {"calibration": 4, "check": 25, "held out": 40}

    def __init__(self, zoo: Path, packages: Path) -> None:
        self.path = zoo / "magika.onnx"
        config = next(packages.rglob("standard_v3_3/config.min.json"))
        self.labels = json.loads(config.read_text())["target_labels_space"]
        found: dict[str, list[Path]] = {}
        for folder in (Path(sys.prefix), Path("/usr/share"), Path("/usr/lib"), HERE.parent, packages):
            for path in folder.rglob("*"):
                kind = self.kinds.get(path.suffix)
                if kind in self.labels and not path.is_symlink() and path.is_file() and path.stat().st_size > 200:
                    found.setdefault(kind, []).append(path)
        self.samples: dict[str, list[tuple[Path, int]]] = {part: [] for part in SETS}
        for kind, paths in sorted(found.items()):
            random.Random(kind).shuffle(paths)
            start = 0
            share = min(1.0, len(paths) / sum(self.most.values()))
            for part in SETS:
                count = round(self.most[part] * share)
                self.samples[part] += [(path, self.labels.index(kind)) for path in paths[start : start + count]]
                start += count

    def model(self) -> onnx.ModelProto:
        return onnx.load(self.path)

    @staticmethod
    def features(path: Path) -> np.ndarray:
        """The first and the last 1024 bytes of the file without white space around, 256 where there are none."""
        size = path.stat().st_size
        with path.open("rb") as opened:
            head = opened.read(4096).lstrip()[:1024]
            opened.seek(max(0, size - 4096))
            tail = opened.read(4096).rstrip()[-1024:]
        row = np.full(2048, 256, np.int32)
        row[: len(head)] = np.frombuffer(head, "u1")
        row[2048 - len(tail) :] = np.frombuffer(tail, "u1")
        return row

    def calibration(self) -> list[dict[str, np.ndarray]]:
        return list(self._batches("calibration"))

    def _batches(self, part: str) -> Iterator[dict[str, np.ndarray]]:
        paths = [path for path, _ in self.samples[part]]
        for start in range(0, len(paths), 32):
            yield {"bytes": np.stack([self.features(path) for path in paths[start : start + 32]])}

    def score(self, module: Module, part: str) -> float:
        runner = Runner(module)
        found = np.concatenate([runner.run(batch)[0].argmax(axis=1) for batch in self._batches(part)])
        return 100.0 * float((found == np.array([label for _, label in self.samples[part]])).mean())


TASKS = {"ocr": Ocr, "vad": Vad, "files": Files}


def run(task: Task, target: str) -> dict[str, Any]:
    """Quantize for one task and score it."""
    quantizer = Quantizer.of(task.model(), task.calibration(), shapes=task.shapes())
    whole = quantizer.write(quantizer.plan("int8"))
    record: dict[str, Any] = {
        "score": task.score_name,
        "layers": len(quantizer.layers),
        "float": {part: task.score(quantizer.module, part) for part in SETS[1:]},
        "int8": {part: task.score(whole, part) for part in SETS[1:]},
    }
    print(task.name, record, flush=True)
    lost = record["float"]["check"] - record["int8"]["check"]
    if lost <= LIMIT:
        return record
    search = quantizer.search(("int8",), objective="size", target=target)
    for bound in BOUNDS:
        mixture = search.within_snr(bound)
        module = quantizer.write(search.plan(mixture.point.schemes))
        check = task.score(module, "check")
        print(task.name, bound, mixture.point.counts, check, flush=True)
        if record["float"]["check"] - check <= LIMIT:
            record["mixed"] = {
                "check": check,
                "held out": task.score(module, "held out"),
                "bound": bound,
                "kept": mixture.kept,
            }
            break
    return record


def text_of(records: dict[str, dict[str, Any]]) -> str:
    """The page."""
    lines = [
        "# Real tasks",
        "",
        "Written by `benchmarks/real_tasks.py`: scores in percent on held-out samples; others calibrate and check. "
        f"`planned` is what is kept where int8 in every layer loses more than {LIMIT} points on the checked samples.",
        "",
        "| model | score | layers | float | int8, every layer | lost | planned | lost | in float |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, record in records.items():
        plain, whole = record["float"]["held out"], record["int8"]["held out"]
        mixed = record.get("mixed", {"held out": whole, "kept": {}})
        lines.append(
            f"| {name} | {record['score']} | {record['layers']} | {plain:.2f} | {whole:.2f} | {plain - whole:+.2f} | "
            f"{mixed['held out']:.2f} | {plain - mixed['held out']:+.2f} | {len(mixed['kept'])} |"
        )
    for name, record in records.items():
        if "mixed" in record:
            lines += ["", f"## What stays in float: {name}, at {record['mixed']['bound']:g} dB", ""]
            lines += [f"* `{layer}`: {reason}" for layer, reason in record["mixed"]["kept"].items()]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--packages", type=Path, default=HERE.parent / "build" / "zoo" / "packages")
    parser.add_argument("--only", nargs="*", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--target", default="x86-64-v3")
    parser.add_argument("--record", type=Path, default=HERE.parent / "build" / "real_tasks.json")
    parser.add_argument("--out", type=Path, default=HERE / "REAL_TASKS.md")
    options = parser.parse_args(arguments)
    for key in options.only:
        task = TASKS[key](options.zoo, options.packages)
        found = run(task, options.target)
        records = json.loads(options.record.read_text()) if options.record.exists() else {}
        records[task.name] = found
        options.record.parent.mkdir(parents=True, exist_ok=True)
        options.record.write_text(json.dumps(records, indent=1))
        options.out.write_text(text_of(records))


if __name__ == "__main__":
    main()

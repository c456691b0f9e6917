"""Reads ncnn's text graphs (`.param`) as plain layers.

The format: a magic number; the numbers of layers and blobs; then one layer a line: type, name, how many inputs and
outputs, their blob names, and `key=value` pairs. A value with commas is an array; keys up to -23300 are the older
notation of arrays, key = -23300 - k, whose first element is the length.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from optc.errors import ModelError

MAGIC = 7767517
_OLD_ARRAYS = -23300

Parameter = int | float | list[float]


@dataclass(frozen=True)
class Layer:
    """One layer as it is written in the graph.

    Attributes:
        type: ncnn's layer type (`Convolution`, `Pooling` …).
        name: unique in its network.
        inputs: blob names read.
        outputs: blob names written.
        parameters: by ncnn's numeric keys; absent ones have ncnn's defaults.
    """

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: dict[int, Parameter] = field(default_factory=dict)

    def number(self, key: int, default: float = 0) -> float:
        """A scalar parameter; of an array, its first element."""
        value = self.parameters.get(key, default)
        if isinstance(value, list):
            return value[0] if value else default
        return value

    def integer(self, key: int, default: int = 0) -> int:
        """A scalar parameter as an int."""
        return int(self.number(key, default))

    def array(self, key: int) -> list[float]:
        """An array parameter; a scalar is an array of one, an absent one is empty."""
        value = self.parameters.get(key)
        if value is None:
            return []
        return list(value) if isinstance(value, list) else [value]


@dataclass(frozen=True)
class Network:
    """A graph in execution order.

    Attributes:
        name: for messages and results.
        layers: each reads only blobs that earlier ones write.
        input_whc: width, height and channels of `Input` layers that do not say their own; None if unknown.
    """

    name: str
    layers: tuple[Layer, ...]
    input_whc: tuple[int, int, int] | None = None


def read_param(path: Path, input_whc: tuple[int, int, int] | None = None) -> Network:
    """The network of a `.param` file.

    Args:
        path: of the file.
        input_whc: the input's size where the file leaves it open.

    Raises:
        ModelError: the file cannot be read or a line of it is no layer; it names the file and the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError("The ncnn graph cannot be read.", where=str(path), why=str(error)) from error
    return parse_param(text, path.name.removesuffix(".param").removesuffix(".ncnn"), str(path), input_whc)


def parse_param(text: str, name: str, source: str, input_whc: tuple[int, int, int] | None = None) -> Network:
    """The network of the text of a `.param` file; `source` is named in errors. See read_param."""
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines or lines[0][1] != [str(MAGIC)]:
        raise ModelError(
            "This is no ncnn text graph.",
            where=f"{source}:1",
            why=f"The first line must be {MAGIC}.",
            hint="ncnn's binary graphs (.param.bin) are not read; give the text file.",
        )
    if len(lines) < 2 or len(lines[1][1]) != 2 or not all(word.isdigit() for word in lines[1][1]):
        raise ModelError("The second line must hold the numbers of layers and blobs.", where=f"{source}:2")
    expected = int(lines[1][1][0])
    layers: list[Layer] = []
    known: set[str] = set()
    for number, words in lines[2:]:
        layer = _layer(words, f"{source}:{number}")
        missing = [blob for blob in layer.inputs if blob not in known]
        if missing:
            raise ModelError(f"Layer {layer.name} reads {missing[0]}, which no layer before writes.",
                             where=f"{source}:{number}")  # fmt: skip
        known.update(layer.outputs)
        layers.append(layer)
    if len(layers) != expected:
        raise ModelError(
            "The graph is cut off or altered.",
            where=source,
            why=f"Line 2 announces {expected} layers, {len(layers)} follow.",
        )
    return Network(name, tuple(layers), input_whc)


def _layer(words: list[str], where: str) -> Layer:
    try:
        inputs, outputs = int(words[2]), int(words[3])
        end = 4 + inputs + outputs
        if inputs < 0 or outputs < 0 or len(words) < end:
            raise ValueError(f"{inputs} inputs and {outputs} outputs are announced")
        parameters = dict(_parameter(word) for word in words[end:])
    except (ValueError, IndexError) as error:
        raise ModelError("This line is no ncnn layer.", where=where, why=str(error)) from error
    return Layer(words[0], words[1], tuple(words[4 : 4 + inputs]), tuple(words[4 + inputs : end]), parameters)


def _parameter(word: str) -> tuple[int, Parameter]:
    key_text, equals, value = word.partition("=")
    if not equals:
        raise ValueError(f"{word!r} is no key=value")
    key = int(key_text)
    if key <= _OLD_ARRAYS:
        elements = value.split(",")
        if len(elements) != int(elements[0]) + 1:
            raise ValueError(f"{word!r}: the array's length does not match")
        return _OLD_ARRAYS - key, [float(element) for element in elements[1:]]
    if "," in value:
        return key, [float(element) for element in value.split(",") if element]
    return key, (int(value) if value.lstrip("+-").isdigit() else _number_or_text(value))


def _number_or_text(value: str) -> float:
    # Quoted strings (newer ncnn) parametrise no layer whose cost is known here.
    return 0.0 if value.startswith('"') else float(value)

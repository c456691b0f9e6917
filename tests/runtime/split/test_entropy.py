"""Codes of a bottleneck come back from about as many bytes as their entropy says, and nothing else decodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.artifact.split_record import CutTensor, Predicted, Way
from optc.errors import OptcError
from optc.runtime.split.codec import CodecFault, Place, open_codec
from optc.runtime.split.codec.entropy import TOTAL, Entropy, frequencies_of, tables_file

SHAPE = (2, 3, 8, 8)


def probabilities(seed: int = 0, channels: int = 3) -> np.ndarray:
    """Peaks near 0, as trained codes have."""
    codes = np.arange(-128, 128)
    widths = np.random.default_rng(seed).uniform(0.5, 3.0, (channels, 1))
    mass = np.exp(-np.abs(codes) / widths)
    return mass / mass.sum(1, keepdims=True)


def drawn(mass: np.ndarray, shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    codes = np.empty(shape, np.int8)
    for channel, row in enumerate(mass):
        codes[:, channel] = random.choice(256, codes[:, channel].shape, p=row) - 128
    return codes


@settings(derandomize=True, max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, 3), (1, 3, 5), (2, 3, 4, 4)]))
def test_any_codes_come_back(seed: int, shape: tuple[int, ...]) -> None:
    codec = Entropy(frequencies_of(probabilities(seed)), shape)
    codes = np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)
    assert np.array_equal(codec.decode(codec.encode(codes)), codes)


def test_bytes_are_those_of_the_entropy() -> None:
    mass = probabilities()
    codes = drawn(mass, SHAPE)
    ideal = sum(-np.log2(row[codes[:, channel].astype(int) + 128]).sum() for channel, row in enumerate(mass)) / 8
    size = memoryview(Entropy(frequencies_of(mass), SHAPE).encode(codes)).nbytes
    assert ideal <= size + 1 <= ideal * 1.02 + 8


def test_frequencies_sum_up_and_none_is_zero() -> None:
    frequencies = frequencies_of(np.eye(256)[:4])
    assert frequencies.min() == 1
    assert (frequencies.sum(1, dtype=np.int64) == TOTAL).all()


def test_damaged_and_foreign_bytes_are_refused() -> None:
    mass = probabilities()
    codec = Entropy(frequencies_of(mass), SHAPE)
    coded = bytes(codec.encode(drawn(mass, SHAPE)))
    for wrong in (coded[:-5], coded + b"\1\2\3\4", bytes(5000)[:-1] + b"\1"):
        with pytest.raises(CodecFault):
            codec.decode(wrong)
    with pytest.raises(CodecFault, match="do not end where the codes end"):
        Entropy(frequencies_of(probabilities(7)), SHAPE).decode(coded)


def place(name: str, folder: Path, dtype: str = "int8", shape: tuple[int, ...] = SHAPE) -> Place:
    sent = CutTensor("codes", dtype, shape, name, 100)
    return Place(sent, Way("narrow", None, None, (sent,), (), Predicted(0.0, 0.0)), folder)


def written(folder: Path) -> tuple[str, Path]:
    """The name of an encoding whose tables lie where a split model has them, and their file."""
    name, file, content = tables_file(frequencies_of(probabilities()))
    path = folder / "cuts" / "narrow" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return name, path


def test_a_split_model_names_its_tables(tmp_path: Path) -> None:
    mass = probabilities()
    name, _ = written(tmp_path)
    codes = drawn(mass, SHAPE)
    sender, receiver = open_codec(place(name, tmp_path)), open_codec(place(name, tmp_path))
    assert np.array_equal(receiver.decode(sender.encode(codes)), codes)


def test_wrong_tables_are_refused(tmp_path: Path) -> None:
    name, path = written(tmp_path)
    with pytest.raises(OptcError, match="the tables belong to another bottleneck"):
        open_codec(place(name, tmp_path, shape=(1, 4, 8, 8)))
    with pytest.raises(OptcError, match="only int8 values with channels can be coded so"):
        open_codec(place(name, tmp_path, dtype="float32"))
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    with pytest.raises(OptcError, match="the checksum is another one"):
        open_codec(place(name, tmp_path))
    with pytest.raises(OptcError, match="cannot be read"):
        open_codec(place("rans-0000", tmp_path))
    with pytest.raises(OptcError, match="needs the folder of its cut"):
        open_codec(Place(CutTensor("codes", "int8", SHAPE, name, 100)))

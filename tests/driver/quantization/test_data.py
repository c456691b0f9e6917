"""Calibration data from every source, and what is said of bad ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graph_kit import Builder
from PIL import Image

from optc.driver.quantization.data import Data, read_labels
from optc.driver.quantization.images import Preprocessing
from optc.errors import OptcError, UsageError


def inputs(shape: str = "batch,3,4,6") -> list:
    return [Builder(x=shape).input("x")]


def test_images_are_resized_scaled_and_normalized(tmp_path: Path) -> None:
    for number in range(9):
        Image.new("RGB", (6, 4), (0, 51, 255)).save(tmp_path / f"{number}.png")
    options = Preprocessing((4, 6), "nchw", (0.0, 1.0), (0.5, 0.1, 0.0), (0.5, 0.1, 2.0))
    (batch,) = Data(tmp_path, inputs(), preprocessing=options).batches()
    assert batch["x"].shape == (9, 3, 4, 6) and batch["x"].dtype == np.float32
    np.testing.assert_allclose(batch["x"][:, :, 0, 0], np.tile([-1.0, 1.0, 0.5], (9, 1)), atol=1e-6)


def test_arrays_are_read_in_batches_as_often_as_wanted(tmp_path: Path) -> None:
    pixels = np.arange(70 * 72).reshape(70, 3, 4, 6) % 251
    np.savez(tmp_path / "d.npz", images=pixels.astype(np.uint8), labels=np.arange(70))
    data = Data(tmp_path / "d.npz", inputs(), limit=65)
    for _ in range(2):
        batches = [batch["x"] for batch in data.batches()]
        assert [len(batch) for batch in batches] == [32, 32, 1]
        np.testing.assert_array_equal(np.concatenate(batches), pixels[:65])
    assert read_labels(tmp_path / "d.npz").tolist() == list(range(70))


def test_an_iterator_is_read_once() -> None:
    data = Data(({"x": np.ones((4, 3, 4, 6), np.float32)} for _ in range(3)), inputs())
    assert data.samples == 12 and len(list(data.batches())) == len(list(data.batches())) == 3


def test_too_few_samples() -> None:
    with pytest.raises(OptcError) as caught:
        Data([{"x": np.ones((3, 3, 4, 6), np.float32)}], inputs())
    assert str(caught.value) == (
        "there are too few calibration samples\n  at the calibration data\n"
        "  3 found, at least 8 needed; some hundreds are usual"
    )


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((9, 3, 4, 5), np.float32), "the data have 9x3x4x5, the model takes batchx3x4x6"),
        (np.ones((9, 3, 4, 6), np.complex64), "the data are complex64, the model takes float32"),
    ],
)
def test_samples_that_do_not_fit(array: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        list(Data([{"x": array}], inputs()).batches())


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(OptcError, match=r"a calibration image cannot be read\n  at .*0\.png"):
        list(Data(tmp_path, inputs()).batches())


def test_an_archive_of_samples_that_was_cut_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.npz"
    path.write_bytes(b"PK\3\4")
    with pytest.raises(OptcError) as caught:
        Data(path, [])
    assert (caught.value.what, caught.value.where) == ("the calibration data cannot be read", str(path))


def test_labels_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "empty.npz")
    np.save(tmp_path / "words.npy", np.array(["cat", "dog"]))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "empty.npz").read_bytes()[:9])
    (tmp_path / "words.txt").write_text("cat\n")
    reasons = {
        "none.npy": "No such file or directory",
        "empty.npz": "it holds no array",
        "words.npy": "invalid literal for int",
        "cut.npz": "",
        "words.txt": "could not convert string",
    }
    for name, reason in reasons.items():
        with pytest.raises(OptcError) as caught:
            read_labels(tmp_path / name)
        assert caught.value.what == "the labels cannot be read"
        assert caught.value.where == str(tmp_path / name)
        assert reason in str(caught.value.why)

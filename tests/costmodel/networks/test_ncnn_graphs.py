"""Reading ncnn graphs: parameters, shapes, terms, and what is said of graphs that are none."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from ncnn_kit import param

from optc.costmodel.networks.costs import Costs, Term, terms
from optc.costmodel.networks.ncnn_param import parse_param, read_param
from optc.costmodel.networks.ncnn_shapes import infer_shapes
from optc.costmodel.networks.population import _trend
from optc.costmodel.networks.posterior import Class
from optc.costmodel.networks.runs import Configuration, log_threads
from optc.errors import ModelError


def _graph(*lines: str) -> str:
    return "\n".join(["7767517", f"{len(lines)} 9", *lines])


def _shapes(*lines: str) -> dict[str, tuple[int, ...]]:
    return infer_shapes(parse_param(_graph("Input in 0 1 x 0=20 1=12 2=8", *lines), "net", "net.param"))


@pytest.mark.parametrize(
    ("line", "shape"),
    [
        ("Convolution c 1 1 x y 0=16 1=3 3=2 4=1 6=1152", (10, 6, 16)),
        ("Convolution c 1 1 x y 0=16 1=3 11=1 6=384", (18, 12, 16)),
        ("Convolution c 1 1 x y 0=4 1=3 3=2 4=-233 6=288", (10, 6, 4)),
        ("Convolution c 1 1 x y 0=4 1=3 2=2 6=288", (16, 8, 4)),
        ("DeconvolutionDepthWise d 1 1 x y 0=8 1=4 3=2 4=1 6=128 7=8", (40, 24, 8)),
        ("Pooling p 1 1 x y 1=3 2=2", (10, 6, 8)),  # the last window hangs over
        ("Pooling p 1 1 x y 1=3 2=2 5=1", (9, 5, 8)),
        ("Pooling p 1 1 x y 0=1 4=1", (8,)),
        ("Flatten f 1 1 x y", (1920,)),
        ("Permute p 1 1 x y 0=3", (8, 20, 12)),
        ("Reshape r 1 1 x y 0=-1 1=8", (240, 8)),
        ("Crop c 1 1 x y -23309=1,2 -23310=1,6 -23311=1,0", (20, 12, 4)),
        ("Interp i 1 1 x y 0=1 1=2.0 2=3.0", (60, 24, 8)),
        ("Padding p 1 1 x y 0=1 1=2 2=3 3=4 7=0 8=5", (27, 15, 13)),
        ("Reduction r 1 1 x y 0=3 1=0 -23303=2,1,2 4=1", (1, 1, 8)),
        ("ReLU r 1 1 x y", (20, 12, 8)),
    ],
)
def test_shapes(line: str, shape: tuple[int, ...]) -> None:
    assert _shapes(line)["y"] == shape


def test_slices_and_concatenation() -> None:
    found = _shapes("Slice s 1 3 x a b c -23300=3,2,-233,-233", "Concat k 2 1 a c y")
    assert [found[name] for name in "abcy"] == [(20, 12, 2), (20, 12, 3), (20, 12, 3), (20, 12, 5)]


@pytest.mark.parametrize(
    ("text", "message", "where"),
    [
        ("1 2\n", "This is no ncnn text graph.", "net.param:1"),
        ("7767517\nfive\n", "The second line must hold the numbers of layers and blobs.", "net.param:2"),
        (_graph("Input in 0 1"), "This line is no ncnn layer.", "net.param:3"),
        (_graph("Input in 0 1 x 0=a"), "This line is no ncnn layer.", "net.param:3"),
        (_graph("Input in 0 1 x -23300=3,1"), "This line is no ncnn layer.", "net.param:3"),
        (_graph("ReLU r 1 1 z y"), "Layer r reads z, which no layer before writes.", "net.param:3"),
        ("7767517\n2 2\nInput in 0 1 x\n", "The graph is cut off or altered.", "net.param"),
    ],
)
def test_what_is_no_graph(text: str, message: str, where: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_param(text, "net", "net.param")
    assert (caught.value.what, caught.value.where) == (message, where)


def test_a_layer_that_does_not_fit_is_named() -> None:
    with pytest.raises(ModelError, match=r"The layer's output is empty\.") as caught:
        _shapes("Convolution big 1 1 x y 0=4 1=31 6=7688")
    assert caught.value.where == "net, layer big (Convolution)"


def test_the_size_of_an_open_input(tmp_path: Path) -> None:
    path = tmp_path / "open.param"
    path.write_text(_graph("Input in 0 1 x", "ReLU r 1 1 x y"))
    assert infer_shapes(read_param(path, (8, 9, 3)))["y"] == (8, 9, 3)
    with pytest.raises(ModelError, match=r"The graph does not say the size of its input\."):
        terms(read_param(path))


def test_terms_count_multiplications() -> None:
    found = {term.label: term for term in terms(parse_param(param(16, 1, size=32), "net", "net"))}
    assert found["pointwise"].log_quantity == pytest.approx(math.log(1e-7 * 16 * 16 * 16 * 16))
    assert found["first"].log_quantity == pytest.approx(math.log(1e-7 * 0.6 * 16 * 16 * 3 * 16 * 9))


def test_slopes_are_derivatives() -> None:
    found = {"a": terms(parse_param(param(16, 2), "a", "a")), "b": terms(parse_param(param(40, 3), "b", "b"))}
    names = sorted({name for each in found.values() for term in each for name in term.weights})
    costs = Costs.of(found, names, [])
    board = np.random.default_rng(3).normal(size=(1, len(names)))
    _, slopes = costs.latencies_and_slopes(board)
    for index in range(len(names)):
        step = np.zeros_like(board)
        step[0, index] = 1e-5
        change = (costs.latencies(board + step) - costs.latencies(board - step)) / 2e-5
        np.testing.assert_allclose(slopes[0, :, index], change[0], atol=1e-6)


def _terms(*lines: str) -> list[Term]:
    return terms(parse_param(_graph("Input in 0 1 x 0=20 1=12 2=32", *lines), "net", "net.param"))


def test_winograd_counts_whole_tiles_and_its_transforms() -> None:
    found = {term.label: term for term in _terms("Convolution c 1 1 x y 0=16 1=3 4=1 6=4608")}
    assert found["winograd"].log_quantity == pytest.approx(math.log(1e-7 * 0.45 * 4608 * 20 * 12))
    odd = {term.label: term for term in _terms("Convolution c 1 1 x y 0=16 1=3 6=4608")}  # 18 x 10
    assert odd["winograd"].log_quantity == found["winograd"].log_quantity
    assert odd["transforms"].log_quantity < found["transforms"].log_quantity


@pytest.mark.parametrize("line", ["0=16 1=3 2=2 4=2 6=4608", "0=8 1=3 4=1 6=2304", "0=16 1=3 3=2 4=1 6=4608"])
def test_dilated_narrow_and_strided_windows_are_gathered(line: str) -> None:
    labels = {term.label for term in _terms(f"Convolution c 1 1 x y {line}")}
    assert "winograd" not in labels
    assert {"window", "gather"} <= labels


def test_a_grouped_convolution_starts_once_for_each_group() -> None:
    starts = [term for term in _terms("ConvolutionDepthWise c 1 1 x y 0=32 1=1 6=128 7=8") if term.label == "launch"]
    assert sum(math.exp(term.log_quantity) for term in starts) == pytest.approx(8 * 3e-3)
    assert [term.weights.get("group_launch", 0.0) for term in starts] == [0.0, 1.0]


def test_what_graphics_processors_leave_to_the_processor() -> None:
    assert "fallback" in {term.label for term in _terms("Reduction r 1 1 x y 0=3")}
    assert "fallback" not in {term.label for term in _terms("ReLU r 1 1 x y")}


def test_boards_of_a_class_follow_their_threads() -> None:
    boards = np.array([[1.0, 5.0]]) + np.arange(-20.0, 21.0)[:, None] * np.array([[0.5, 0.0]])
    mean, slope = _trend(boards, np.arange(-20.0, 21.0), np.zeros(2))
    np.testing.assert_allclose(slope, [0.5, 0.0], rtol=0.01, atol=1e-12)
    known = Class(mean, np.eye(2), 0.01, slope)
    np.testing.assert_allclose(known.at(4.0).mean, mean + 4.0 * slope)
    assert log_threads(Configuration("b", threads=8)) == pytest.approx(math.log(2))
    assert log_threads(Configuration("b", threads=8, gpu=0)) == log_threads(Configuration("b")) == 0.0

"""The polynomial functions against float64 over millions of arguments, and on the special ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from kernel_harness import Group, Prepared, compile_all, prepare, run, type_of

from optc.backends.tvm.loader import LoadedKernels
from optc.backends.tvm.math.f32 import MAX_GELU_ERROR, MAX_ULP
from optc.ir.core import Graph, Operation
from optc.targets import load

OPERATIONS = {
    "exp": "Exp",
    "log": "Log",
    "tanh": "Tanh",
    "erf": "Erf",
    "sigmoid": "Sigmoid",
    "silu": "Swish",
    "gelu": "Gelu",
}
ATOL = {"sigmoid": 2e-38, "silu": 2e-36, "gelu": 4e-7}  # what is left where the exact result tends to zero
SPECIAL = np.array(
    [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1e-45,
        -1e-45,
        1e-38,
        -1e-38,
        3e38,
        -3e38,
        88.7,
        89.5,
        -87.5,
        -103.9,
        -104.5,
        1.0,
    ],
    np.float32,
)


def _erf(x: np.ndarray) -> np.ndarray:
    return np.array([math.erf(value) for value in x.tolist()])


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * (0.5 + 0.5 * _erf(x * math.sqrt(0.5)))


EXACT = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "erf": _erf,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: np.where(np.isneginf(x), 0.0, x / (1 + np.exp(-x))),
    "gelu": lambda x: np.where(np.isneginf(x), 0.0, _gelu(x)),
}


def _arguments(name: str) -> np.ndarray:
    random = np.random.default_rng(3)
    count = 1 << 20
    if name == "log":
        return np.exp(random.uniform(-87, 88, count)).astype(np.float32)
    low, high = {"exp": (-87, 88.7), "sigmoid": (-86, 90), "silu": (-86, 90)}.get(name, (-10, 10))
    wide = random.uniform(low, high, count)
    small = random.uniform(-1, 1, count // 4) * 10.0 ** random.uniform(-30, 0, count // 4)
    return np.concatenate([wide, small]).astype(np.float32)


@pytest.fixture(scope="module")
def kernels() -> tuple[LoadedKernels, dict[str, tuple[Prepared, Prepared]]]:
    host = load("cpu")
    pairs, flat = {}, {}
    for name, operation in OPERATIONS.items():
        pair = []
        for kind, data in (("many", _arguments(name)), ("special", SPECIAL)):
            graph = Graph("group")
            value = graph.add_input("x", type_of(data))
            graph.set_outputs(graph.append(Operation(f"onnx.{operation}", [value], [type_of(data)])).results)
            each = prepare(Group(graph), [data], host)
            flat[f"{name}_{kind}"] = each
            pair.append(each)
        pairs[name] = (pair[0], pair[1])
    return compile_all(flat, host), pairs


@pytest.mark.parametrize("name", MAX_ULP)
def test_error_stays_below_the_stated_bound(
    name: str, kernels: tuple[LoadedKernels, dict[str, tuple[Prepared, Prepared]]]
) -> None:
    each = kernels[1][name][0]
    (actual,) = run(kernels[0], f"{name}_many", each)
    points = slice(None, None, 8) if name == "erf" else slice(None)  # math.erf is scalar
    exact = EXACT[name](each.inputs[0][points].astype(np.float64))
    unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    error = np.abs(actual[points].astype(np.float64) - exact) / unit
    worst = int(error.argmax())
    assert error[worst] <= MAX_ULP[name], f"{error[worst]:.2f} ulp at {each.inputs[0][points][worst]!r}"


def test_gelu_is_exact_to_a_part_of_its_argument(
    kernels: tuple[LoadedKernels, dict[str, tuple[Prepared, Prepared]]],
) -> None:
    each = kernels[1]["gelu"][0]
    (actual,) = run(kernels[0], "gelu_many", each)
    x = each.inputs[0][::8].astype(np.float64)
    assert (np.abs(actual[::8] - _gelu(x)) <= MAX_GELU_ERROR * np.abs(x)).all()


@pytest.mark.parametrize("name", OPERATIONS)
def test_special_arguments(name: str, kernels: tuple[LoadedKernels, dict[str, tuple[Prepared, Prepared]]]) -> None:
    (actual,) = run(kernels[0], f"{name}_special", kernels[1][name][1])
    with np.errstate(all="ignore"):
        exact = EXACT[name](SPECIAL.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(actual, exact, rtol=1e-6, atol=ATOL.get(name, 1.5e-45))
    if name in ("tanh", "erf"):
        np.testing.assert_array_equal(np.signbit(actual[:2]), [False, True])

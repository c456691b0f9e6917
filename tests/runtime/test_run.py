"""Running artifacts: numbers, threads, buffers, control flow, messages."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from native_kit import BYTES, SIZE, chain, input_at, output_at, slot, tensor, weighted_sum

from optc.errors import OptcError, UsageError
from optc.program import Branch, KernelCall, Location, Program, TensorInfo, timed_steps
from optc.runtime import load
from optc.runtime.arrays import address_of, aligned_empty

Build = Callable[..., Path]
X = np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)
W = np.arange(SIZE, dtype=np.float32)


def test_weights_and_copies(build: Build) -> None:
    program, weights = weighted_sum()
    with load(build(program, weights)) as model:
        outputs = model.run({"x": X})
        np.testing.assert_array_equal(outputs["y"], 2 * (X + W))
        np.testing.assert_array_equal(outputs["z"], W)
        assert model.threads == 1
        assert model.workspace_bytes >= program.arena_bytes
        assert [info.name for info in model.outputs] == ["y", "z"]


PARALLEL = {"square": np.square, "count": lambda x: x + 50, "nested": lambda x: x + 1}


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("symbol", PARALLEL)
def test_parallel_loops(build: Build, threads: int, symbol: str) -> None:
    expected = PARALLEL[symbol](-PARALLEL[symbol](W))
    with load(build(chain(symbol, "negate", symbol)), threads=threads) as model:
        assert model.threads == threads
        for _ in range(20):
            np.testing.assert_array_equal(model.run({"x": W})["y"], expected)


def test_threads_can_change(build: Build) -> None:
    with load(build(chain("square"), threads=2)) as model:
        assert model.threads == 2
        model.threads = 3
        assert model.threads == 3
        np.testing.assert_array_equal(model.run({"x": X})["y"], X * X)
        with pytest.raises(UsageError, match="0 threads are out of the range 1 to 1024"):
            model.threads = 0
        assert model.threads == 3


def test_default_threads_are_the_cpus(build: Build) -> None:
    with load(build(chain("square"), threads=0)) as model:
        assert model.threads == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("offset", [0, 4, 32, 60])
def test_unaligned_buffers(build: Build, offset: int) -> None:
    memory = aligned_empty((BYTES + 64,), np.dtype(np.uint8))
    x = memory[offset : offset + BYTES].view(np.float32)
    x[:] = X
    assert address_of(x) % 64 == offset
    with load(build(chain("aligned_copy"))) as model:
        outputs = model.run({"x": x})
        np.testing.assert_array_equal(outputs["y"], X)
        assert address_of(outputs["y"]) % 64 == 0


def test_strided_input(build: Build) -> None:
    with load(build(chain("aligned_copy"))) as model:
        np.testing.assert_array_equal(model.run({"x": np.repeat(X, 3)[::3]})["y"], X)


@pytest.mark.parametrize("sign", [1, -1])
def test_branch(build: Build, sign: int) -> None:
    flag = Location("arena", 0, 1)
    inner = Branch(flag, (KernelCall("twice", (input_at(0), output_at(0)), "then/then"),), (), "inner")
    steps = (
        KernelCall("is_positive", (input_at(0), flag), "condition"),
        Branch(flag, (inner,), (KernelCall("negate", (input_at(0), output_at(0)), "else"),), "outer"),
    )
    x = sign * (np.abs(X) + 1)
    with load(build(Program((tensor("x"),), (tensor("y"),), 64, 0, steps))) as model:
        np.testing.assert_array_equal(model.run({"x": x})["y"], 2 * x if sign > 0 else -x)
        times = model.profile({"x": x}, runs=3)
        assert [time.label for time in times] == ["condition", "then/then", "else"]
        assert [time.calls for time in times] == ([3, 3, 0] if sign > 0 else [3, 0, 3])


def test_profile_speaks_of_the_steps(build: Build) -> None:
    program, weights = weighted_sum()
    with load(build(program, weights)) as model:
        times = model.profile({"x": X}, runs=5)
        assert [time.symbol for time in times] == ["add", "twice", "copy"]
        assert len(times) == len(timed_steps(program))
        assert all(time.calls == 5 and time.seconds > 0 for time in times)
        model.run({"x": X})
        assert model.profile({"x": X}, runs=2)[0].calls == 2


def test_two_models_at_once(build: Build) -> None:
    first, second = build(chain("square"), name="first"), build(chain("count", "negate"), name="second")
    failures: list[str] = []

    def work(folder: Path, expected: np.ndarray) -> None:
        with load(folder, threads=2) as model:
            for _ in range(50):
                if not np.array_equal(model.run({"x": W})["y"], expected):
                    failures.append(str(folder))

    jobs = [(first, W * W), (second, -(W + 50)), (first, W * W)]
    threads = [threading.Thread(target=work, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_one_model_from_many_threads(build: Build) -> None:
    with load(build(chain("square", "negate")), threads=2) as model:
        inputs = [X + index for index in range(6)]
        found: list[np.ndarray | None] = [None] * len(inputs)

        def work(index: int) -> None:
            for _ in range(20):
                found[index] = model.run({"x": inputs[index]})["y"]

        threads = [threading.Thread(target=work, args=(index,)) for index in range(len(inputs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for x, y in zip(inputs, found, strict=True):
            np.testing.assert_array_equal(y, -(x * x))


def test_a_newer_artifact_in_the_same_place(build: Build) -> None:
    old = load(build(chain("negate")))
    new = load(build(chain("twice")))
    np.testing.assert_array_equal(old.run({"x": X})["y"], -X)
    np.testing.assert_array_equal(new.run({"x": X})["y"], 2 * X)
    old.close()
    np.testing.assert_array_equal(new.run({"x": X})["y"], 2 * X)
    new.close()


def test_runs_after_a_fork(build: Build) -> None:
    with load(build(chain("square")), threads=3) as model:
        model.run({"x": X})
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if np.array_equal(model.run({"x": X})["y"], X * X) else 2
                model.close()
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        np.testing.assert_array_equal(model.run({"x": X})["y"], X * X)


@pytest.mark.parametrize("threads", [1, 3])
def test_failing_kernel(build: Build, threads: int) -> None:
    folder = build(chain("square", "broken"))
    with load(folder, threads=threads) as model:
        for _ in range(2):
            with pytest.raises(OptcError) as failure:
                model.run({"x": X})
            assert str(failure.value) == (
                f"the native library failed\n  at {folder}\n"
                "  kernel broken (broken/1) failed with code -3: ValueError: task broke"
            )


def test_wrong_inputs(build: Build) -> None:
    with load(build(chain("negate"))) as model:
        with pytest.raises(UsageError) as failure:
            model.run({"x": X.astype(np.float64)})
        assert str(failure.value) == (
            "input 'x' has the wrong type\n  expected float32[1000], given float64[1000]\n"
            "  hint: convert it with array.astype('float32')"
        )
        with pytest.raises(UsageError) as failure:
            model.run({"x": X[:10]})
        assert str(failure.value) == ("input 'x' has the wrong shape\n  expected float32[1000], given float32[10]")


def test_wrong_names(build: Build) -> None:
    program = Program((tensor("images"), tensor("mask")), (tensor("y"),), 0, 0, chain("negate").steps)
    with load(build(program)) as model:
        with pytest.raises(UsageError) as failure:
            model.run({"image": X, "mask": X})
        assert str(failure.value) == (
            "the inputs are not the model's\n"
            "  'image' is unknown (did you mean 'images'?); 'images' is missing\n"
            "  hint: the inputs are: 'images', 'mask'"
        )


def test_closed(build: Build) -> None:
    model = load(build(chain("negate")))
    model.close()
    model.close()
    with pytest.raises(UsageError, match="the artifact is closed"):
        model.run({"x": X})


def test_empty_and_scalar_tensors(build: Build) -> None:
    infos = (TensorInfo("nothing", "float32", (0, 3)), TensorInfo("x", "float32", (SIZE,)))
    outputs = (TensorInfo("none", "int64", (2, 0)), TensorInfo("flag", "bool", ()))
    steps = (KernelCall("is_positive", (input_at(1), Location("output", 0, 1, 1)), "flag"),)
    with load(build(Program(infos, outputs, 0, 0, steps))) as model:
        found = model.run({"nothing": np.empty((0, 3), np.float32), "x": np.abs(X) + 1})
        assert found["none"].shape == (2, 0) and found["none"].dtype == np.int64
        assert found["flag"].shape == () and found["flag"]


def test_many_arena_slots(build: Build) -> None:
    """A long chain through distinct slots ends where arithmetic says."""
    steps = tuple(
        KernelCall("negate", (slot(i - 1) if i else input_at(0), slot(i) if i < 40 else output_at(0)), f"step {i}")
        for i in range(41)
    )
    with load(build(Program((tensor("x"),), (tensor("y"),), 40 * 4032, 0, steps))) as model:
        np.testing.assert_array_equal(model.run({"x": X})["y"], -X)

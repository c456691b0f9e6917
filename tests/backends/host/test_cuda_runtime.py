"""The runtime of GPU artifacts on an emulated driver, which complains about whatever a GPU would not take."""

from __future__ import annotations

import shutil
from pathlib import Path

import emulated_gpu_kit as kit
import pytest
from native_kit import SLOT, chain, input_at, output_at, slot, tensor, weighted_sum

from optc.program import Branch, FallbackCall, KernelCall, Location, Program

pytestmark = pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")

RUN = """
model = start()
x, y = vector({seed}, {offset}), vector(9, {offset})
for run in range({runs}):
    x += run
    y[:] = 0
    model.run([address(x)], [address(y)])
    assert np.array_equal(y, {expected}), run
said["workspace"] = model.workspace_bytes
model.close()
"""


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.build(tmp_path_factory.mktemp("chain"), chain("twice", "negate", "twice"))


@pytest.mark.parametrize("offset", [0, 3])
def test_later_runs_are_one_graph(chained: Path, offset: int) -> None:
    """The buffers may have any alignment: they are copied."""
    done = kit.drive(chained, RUN.format(seed=1, offset=offset, runs=5, expected="-4 * x"))
    assert done.status == 0, done.errors
    assert done.report["launches"] == 15 and done.report["graphs"] == 1 and done.report["graph_launches"] == 4
    assert done.report["uploaded"] == done.report["downloaded"] == 5 * 4000
    assert done.report["live"] == done.report["complaints"] == 0
    assert done.said["workspace"] == done.report["most_allocated"] + 262144  # and the scratch of a host thread


def test_a_device_that_shares_memory_copies_nothing(chained: Path) -> None:
    text = """
model = start()
library, handle = model._library, model._handle
library.optc_model_allocate.restype = ctypes.c_void_p
library.optc_model_allocate.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
library.optc_model_release.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
places = [library.optc_model_allocate(handle, 4000) for _ in range(2)]
x, y = (np.ctypeslib.as_array(ctypes.cast(place, ctypes.POINTER(ctypes.c_float)), (1000,)) for place in places)
for run in range(4):
    x[:] = vector(run)
    model.run([places[0]], [places[1]])
    assert np.array_equal(y, -4 * vector(run))
z = vector()
model.run([places[0]], [address(z)])
assert np.array_equal(z, -4 * x)
for place in places:
    library.optc_model_release(handle, place)
model.close()
"""
    shared = kit.drive(chained, text, sm=87)
    assert shared.status == 0, shared.errors
    assert shared.report["uploaded"] == 0 and shared.report["downloaded"] == 4000
    assert shared.report["graphs"] == 2, "the last run had another output"
    apart = kit.drive(chained, text, sm=89)
    assert apart.status == 0, apart.errors
    assert apart.report["uploaded"] == apart.report["downloaded"] == 5 * 4000 and apart.report["graphs"] == 1


def test_memory_of_the_device_that_is_not_aligned_is_copied_there(chained: Path) -> None:
    text = """
driver = ctypes.CDLL("libcuda.so.1")
model = start()
context, x, y = ctypes.c_void_p(), ctypes.c_ulonglong(), ctypes.c_ulonglong()
assert not driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
assert not driver.cuCtxPushCurrent_v2(context)
stream = ctypes.c_void_p()
assert not driver.cuStreamCreate(ctypes.byref(stream), 0)
size = ctypes.c_size_t(4000)
for place in (x, y):
    assert not driver.cuMemAlloc_v2(ctypes.byref(place), ctypes.c_size_t(4200))
given, found = vector(3), vector()
assert not driver.cuMemcpyHtoDAsync_v2(ctypes.c_ulonglong(x.value + 4), ctypes.c_void_p(address(given)), size, stream)
assert not driver.cuStreamSynchronize(stream)
for offset in (4, 4, 128):
    model.run([x.value + 4], [y.value + offset])
    source = ctypes.c_ulonglong(y.value + offset)
    assert not driver.cuMemcpyDtoHAsync_v2(ctypes.c_void_p(address(found)), source, size, stream)
    assert not driver.cuStreamSynchronize(stream)
    assert np.array_equal(found, -4 * given), offset
model.close()
for place in (x, y):
    assert not driver.cuMemFree_v2(place)
assert not driver.cuStreamDestroy_v2(stream)
assert not driver.cuCtxPopCurrent_v2(ctypes.byref(context))
assert not driver.cuDevicePrimaryCtxRelease_v2(0)
"""
    done = kit.drive(chained, text)
    assert done.status == 0, done.errors
    assert done.report["uploaded"] == 4000 and done.report["downloaded"] == 3 * 4000
    assert done.report["copies"] == 3 + 2


def test_profiled_steps_have_times_of_their_own(chained: Path) -> None:
    text = """
model = start()
x, y = vector(), vector()
model.profile(True)
for _ in range(3):
    model.run([address(x)], [address(y)])
said["times"] = [[time.symbol, time.calls, time.seconds] for time in model.step_times()]
model.close()
"""
    done = kit.drive(chained, text)
    assert done.status == 0, done.errors
    assert [(symbol, calls) for symbol, calls, _ in done.said["times"]] == [("twice", 3), ("negate", 3), ("twice", 3)]  # type: ignore[attr-defined]
    assert all(seconds > 0 for _, _, seconds in done.said["times"])  # type: ignore[attr-defined]
    assert done.report["graph_launches"] == 0


def test_handles_in_threads_do_not_mix(chained: Path) -> None:
    text = """
import threading
wrong = []
def work(seed):
    model = start()
    x, y = vector(seed), vector()
    for _ in range(6):
        model.run([address(x)], [address(y)])
        if not np.array_equal(y, -4 * vector(seed)):
            wrong.append(seed)
    model.close()
threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
said["wrong"] = wrong
"""
    done = kit.drive(chained, text)
    assert done.status == 0 and done.said == {"wrong": []}, done.errors
    assert done.report["launches"] == 4 * 6 * 3 and done.report["live"] == 0


def test_weights_are_copied_once(tmp_path: Path) -> None:
    program, weights = weighted_sum()
    folder = kit.build(tmp_path, program, weights)
    text = """
model = start(1, 2)
x, y, z = vector(), vector(), vector()
for _ in range(3):
    model.run([address(x)], [address(y), address(z)])
    assert np.array_equal(y, 2 * (x + np.arange(1000, dtype=np.float32)))
    assert np.array_equal(z, np.arange(1000, dtype=np.float32))
model.close()
"""
    done = kit.drive(folder, text)
    assert done.status == 0, done.errors
    assert done.report["uploaded"] == len(weights) + 3 * 4000


def test_branches_and_regions_on_the_host(tmp_path: Path) -> None:
    """y = x[0] > 0 ? 2 x : -x, then a region of the host adds one."""
    after = (tensor("after"), slot(1))
    region = FallbackCall("fallback_0.onnx", (after,), ((tensor("y"), output_at(0)),), "plus one", "for the test")
    condition = Location("arena", 2 * SLOT, 1000)
    branch = Branch(
        Location("arena", 2 * SLOT, 1),
        (KernelCall("twice", (input_at(0), slot(1)), "then"),),
        (KernelCall("negate", (input_at(0), slot(1)), "else"),),
        "choice",
    )
    ask = KernelCall("is_positive", (input_at(0), condition), "ask")
    program = Program((tensor("x"),), (tensor("y"),), 3 * SLOT, 0, (ask, branch, region))
    folder = kit.build(tmp_path, program)
    text = """
model = start()
def plus_one(region, inputs, outputs):
    floats = ctypes.POINTER(ctypes.c_float)
    a, b = (np.ctypeslib.as_array(ctypes.cast(p[0], floats), (1000,)) for p in (inputs, outputs))
    b[:] = a + 1
    return 0
model.set_fallback(plus_one)
x, y = vector(), vector()
for first in (1.0, -1.0, 1.0):
    x[0] = first
    model.run([address(x)], [address(y)])
    assert np.array_equal(y, (2 * x if first > 0 else -x) + 1), first
model.close()
"""
    done = kit.drive(folder, text)
    assert done.status == 0, done.errors
    assert done.report["graphs"] == 0 and done.report["launches"] == 6


REFUSAL = """
try:
    start()
except OptcError as error:
    said["why"] = error.why
"""


def test_no_driver(chained: Path, tmp_path: Path) -> None:
    done = kit.drive(chained, REFUSAL, driver=tmp_path)
    assert str(done.said["why"]).startswith("the CUDA driver is not installed: libcuda.so.1")


@pytest.mark.parametrize("sm", [75, 0])
def test_no_gpu_that_fits(chained: Path, sm: int) -> None:
    done = kit.drive(chained, REFUSAL, sm=sm)
    expected = "the GPU 'Emulated GPU' is sm_75, and the library has code for: PTX for compute_80"
    assert done.said["why"] == (expected if sm else "this machine has no GPU that CUDA can use")
    assert done.status == 0 and done.report["live"] == 0, done.errors


def test_a_driver_that_is_older_than_the_code(chained: Path) -> None:
    done = kit.drive(chained, REFUSAL, cuda=12060)
    assert str(done.said["why"]).endswith(
        "(CUDA_ERROR_UNSUPPORTED_PTX_VERSION); the code is of CUDA 13.0, and the driver knows CUDA 12.6: "
        "compile with a CUDA 12, or renew the driver"
    )
    assert done.status == 0 and done.report["live"] == 0, done.errors


def test_shared_memory_that_a_gpu_lacks(tmp_path: Path) -> None:
    folder = kit.build(tmp_path, chain("roomy"))
    assert kit.drive(folder, RUN.format(seed=1, offset=0, runs=1, expected="2 * x"), sm=80).status == 0
    done = kit.drive(folder, REFUSAL, sm=86)
    assert done.said["why"] == "roomy_f: invalid use (CUDA_ERROR_INVALID_VALUE)"
    assert "asks for 120000 bytes of shared memory, and a block has 101376" in done.errors


def test_a_kernel_that_leaves_its_memory(tmp_path: Path) -> None:
    folder = kit.build(tmp_path, chain("broken"))
    done = kit.drive(folder, RUN.format(seed=1, offset=0, runs=1, expected="x"))
    assert done.status == 70 and "broken_f touches 0x" in done.errors


def test_too_many_threads_name_the_kernel(tmp_path: Path) -> None:
    folder = kit.build(tmp_path, chain("crowded"))
    text = """
model = start()
x = vector()
try:
    model.run([address(x)], [address(x)])
except OptcError as error:
    said["why"] = error.why
model.close()
"""
    done = kit.drive(folder, text)
    assert done.said["why"] == (
        "kernel crowded (crowded/0) failed with code 1: crowded_f: invalid use (CUDA_ERROR_INVALID_VALUE)"
    )
    assert done.report["live"] == 0


def test_the_addresses_are_those_of_the_device(chained: Path) -> None:
    """The emulated driver forbids the host what lies on the device: reading it there ends the process."""
    text = """
driver = ctypes.CDLL("libcuda.so.1")
context, place = ctypes.c_void_p(), ctypes.c_ulonglong()
assert not driver.cuInit(0)
assert not driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
assert not driver.cuCtxPushCurrent_v2(context)
assert not driver.cuMemAlloc_v2(ctypes.byref(place), ctypes.c_size_t(64))
ctypes.string_at(place.value, 1)
"""
    done = kit.drive(chained, text)
    assert done.status == 70 and "touches" in done.errors


def test_the_gpus_that_the_driver_lists(chained: Path) -> None:
    text = "from optc.targets.gpu import gpus\nsaid['found'] = [list(gpus().capabilities), gpus().reason]\n"
    assert kit.drive(chained, text, sm=87).said["found"] == [[87], ""]
    assert kit.drive(chained, text, sm=0).said["found"] == [[], "this machine has no GPU that CUDA can use"]

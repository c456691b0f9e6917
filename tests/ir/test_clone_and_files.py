"""Copies are equal and independent; files keep every bit and survive damage with a clear error."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from optc.errors import ModelError, OptcError
from optc.ir.clone import clone_graph, clone_module, clone_operation
from optc.ir.core import Graph, Module, Value
from optc.ir.equality import equal
from optc.ir.parser import parse_module
from optc.ir.resources import load_module, read_resources, save_module
from optc.ir.verifier import verify

TEXT = """graph @main(%x: tensor<4xf32>, %c: tensor<bool>) -> ("y") {
  %a = onnx.Relu(%x) : tensor<4xf32> loc("relu")
  %y = onnx.If(%c) (
    then_branch = graph @then() -> ("t") {
      %t = onnx.Neg(%a) : tensor<4xf32>
      return %t
    },
    else_branch = graph @else() -> ("e") { return %a }
  ) : tensor<4xf32>
  return %y
}"""


def test_a_cloned_module_is_equal_and_independent() -> None:
    module = parse_module(TEXT)
    mapping: dict[Value, Value] = {}
    copy = clone_module(module, mapping)
    assert equal(module, copy) is None
    verify(copy)
    verify(module)
    assert mapping[module.main.inputs[0]] is copy.main.inputs[0]
    assert not {id(operation) for operation in module.walk()} & {id(operation) for operation in copy.walk()}
    next(iter(copy.main)).attributes["changed"] = 1
    assert equal(module, copy) is not None


def test_a_cloned_constant_shares_its_array() -> None:
    graph = Graph("main")
    array = np.arange(64.0)
    graph.set_outputs([graph.constant(array)])
    assert clone_graph(graph).outputs[0].constant is array


def test_a_cloned_operation_reads_what_the_mapping_says() -> None:
    module = parse_module(TEXT)
    branch = list(module.main)[1]
    x, relu = module.main.inputs[0], next(iter(module.main)).result
    copy = clone_operation(branch, {relu: x})
    assert copy.operands == branch.operands
    assert copy.graph is None
    assert next(iter(copy.graphs["then_branch"])).operands == (x,)
    assert copy.graphs["else_branch"].outputs == (x,)


def _big_module() -> Module:
    graph = Graph("main")
    names = np.array([f"name {index} é" for index in range(20)], dtype=object)
    arrays = {
        "weights": np.linspace(-1, 1, 60, dtype=np.float32).reshape(3, 20),
        "half": np.arange(40).astype(ml_dtypes.bfloat16),
        "nibbles": (np.arange(40) % 8).astype(ml_dtypes.int4),
        "names": names,
        "mask": np.arange(40) % 3 == 0,
        "transposed": np.arange(40, dtype=np.int64).reshape(5, 8).T,
    }
    values = [graph.constant(array, name) for name, array in arrays.items()]
    graph.set_outputs(values)
    return Module(graph)


def test_a_saved_module_loads_bit_for_bit(tmp_path: Path) -> None:
    module = _big_module()
    save_module(module, tmp_path / "sub" / "m.mlir")
    loaded = load_module(tmp_path / "sub" / "m.mlir")
    assert equal(module, loaded) is None
    assert sorted(path.name for path in (tmp_path / "sub").iterdir()) == ["m.mlir", "m.resources"]
    # The file stays mapped while it is replaced.
    save_module(loaded, tmp_path / "sub" / "m.mlir")
    assert equal(module, load_module(tmp_path / "sub" / "m.mlir")) is None


def test_loaded_weights_are_mapped_not_read(tmp_path: Path) -> None:
    save_module(_big_module(), tmp_path / "m.mlir")
    array = read_resources(tmp_path / "m.resources")["weights"]
    while array.base is not None and not isinstance(array, np.memmap):
        array = array.base
    assert isinstance(array, np.memmap)


def _damage_header(path: Path, change: dict[str, object]) -> None:
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header["weights"].update(change)
    encoded = json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + raw[8 + length :])


@pytest.mark.parametrize(
    "change", [{"end": 1 << 40}, {"begin": -4}, {"shape": [1 << 40]}, {"dtype": "f31"}, {"end": "9"}]
)
def test_a_damaged_header_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    save_module(_big_module(), tmp_path / "m.mlir")
    _damage_header(tmp_path / "m.resources", change)
    with pytest.raises(ModelError, match="the weights file is damaged"):
        load_module(tmp_path / "m.mlir")


@pytest.mark.parametrize("size", [0, 4, 30, 300])
def test_a_truncated_file_is_refused(tmp_path: Path, size: int) -> None:
    save_module(_big_module(), tmp_path / "m.mlir")
    path = tmp_path / "m.resources"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelError, match="the weights file is damaged"):
        load_module(tmp_path / "m.mlir")


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_module(tmp_path / "none.mlir")
    assert str(caught.value) == f"the file cannot be read\n  at {tmp_path}/none.mlir\n  No such file or directory"
    (tmp_path / "binary.mlir").write_bytes(b"\x08\xff\xfe")
    with pytest.raises(ModelError) as caught:
        load_module(tmp_path / "binary.mlir")
    assert str(caught.value) == f"the file is no IR text\n  at {tmp_path}/binary.mlir\n  byte 1 is not UTF-8"


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OptcError, match="the IR cannot be written"):
        save_module(_big_module(), tmp_path / "file" / "m.mlir")

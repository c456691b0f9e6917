"""What was learned, as ONNX: the two halves around a bottleneck, and a network that can stop at its exit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from optc.driver.split.learning.bottleneck import Bottleneck
from optc.driver.split.learning.exits import EarlyExit, ExitRule
from optc.driver.split.learning.section import Section
from optc.ir.core import Module
from optc.ops.onnx_export import make_node
from optc.ops.onnx_types import array_to_proto
from optc.version import __version__

OPSET = 18
CODES = "codes"
"""What the value that crosses the link is called in both halves."""


class Writer:
    """A graph in ONNX that grows.

    Args:
        around: the writer of the graph that this one is a branch of; it may read that one's values.
    """

    def __init__(self, around: Writer | None = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = [] if around is None else around.constants
        self.taken: set[str] = set() if around is None else around.taken

    def name(self, wanted: str) -> str:
        """A name that is still free."""
        found, number = wanted, 0
        while found in self.taken:
            number += 1
            found = f"{wanted}_{number}"
        self.taken.add(found)
        return found

    def constant(self, array: np.ndarray, wanted: str) -> str:
        """An initializer; its name."""
        name = self.name(wanted)
        self.constants.append(array_to_proto(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """One node with one result; the result's name."""
        result = self.name(output)
        self.nodes.append(helper.make_node(kind, list(inputs), [result], name=result, **attributes))
        return result

    def section(self, section: Section, inputs: Sequence[str]) -> list[str]:
        """A part of the user's model with its weights as they are now; the names of what it gives."""
        names = dict(zip(section.takes, inputs, strict=True))
        learned = section.learned()
        for operation in section.operations:
            for value in operation.present_operands:
                if value.is_constant and value not in names:
                    names[value] = self.constant(learned.get(value, np.asarray(value.constant)), value.name)
            names.update((value, self.name(value.name)) for value in operation.results)
            read = ["" if value is None else names[value] for value in operation.operands]
            node = make_node(operation, read, [names[value] for value in operation.results])
            node.name = names[operation.results[0]]  # as all nodes here: unique, whatever the user called them
            self.nodes.append(node)
        return [names[value] for value in section.gives]

    def layers(self, layers: nn.Module, source: str, prefix: str) -> str:
        """A sequence of layers; BatchNorm goes into the convolution before it. The name of the result."""
        parts = list(layers.children())
        for place, layer in enumerate(parts):
            label = f"{prefix}.{place}"
            match layer:
                case nn.Conv2d():
                    follower = parts[place + 1] if place + 1 < len(parts) else None
                    weight, bias = _folded(layer, follower if isinstance(follower, nn.BatchNorm2d) else None)
                    operands = [source, self.constant(weight, f"{label}.weight"), self.constant(bias, f"{label}.bias")]
                    sides: Any = layer.padding
                    source = self.node(
                        "Conv", operands, label, strides=layer.stride, pads=[*sides, *sides], group=layer.groups,
                        kernel_shape=layer.kernel_size,
                    )  # fmt: skip
                case nn.BatchNorm2d():
                    pass
                case nn.ReLU():
                    source = self.node("Relu", [source], label)
                case nn.PixelShuffle():
                    source = self.node("DepthToSpace", [source], label, blocksize=layer.upscale_factor, mode="CRD")
                case nn.AvgPool2d():
                    sides = (layer.kernel_size,) * 2
                    source = self.node("AveragePool", [source], label, kernel_shape=sides, strides=sides)
                case nn.AdaptiveAvgPool2d():
                    source = self.node("GlobalAveragePool", [source], label)
                case nn.Flatten():
                    source = self.node("Flatten", [source], label)
                case nn.Linear():
                    operands = [source, self.constant(_array(layer.weight), f"{label}.weight")]
                    operands.append(self.constant(_array(layer.bias), f"{label}.bias"))
                    source = self.node("Gemm", operands, label, transB=1)
                case _:
                    raise TypeError(f"no way to write {type(layer).__name__}")
        return source

    def graph(self, name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> onnx.GraphProto:
        """The whole graph."""
        return helper.make_graph(self.nodes, name, list(inputs), list(outputs), self.constants)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().contiguous().numpy()


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a convolution with what follows it."""
    weight = conv.weight.detach().double()
    bias = torch.zeros(len(weight), dtype=torch.float64) if conv.bias is None else conv.bias.detach().double()
    if norm is not None:
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = weight * scale[:, None, None, None]
        bias = (bias - norm.running_mean.double()) * scale + norm.bias.detach().double()
    return _array(weight), _array(bias)


def halves(
    model: Bottleneck, width: int | None = None, batch: int | None = None
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The device's half, which ends with the codes as int8, and the server's, which begins with them.

    Args:
        model: trained.
        width: leading channels that are sent; all by default. The server's half takes that many.
        batch: samples a run; by default as the model has it.
    """
    width = width or model.channels
    graph = model.module.main
    source = graph.inputs[0]
    samples: Any = batch or (source.tensor_type.shape or ("batch",))[0]
    rows = _code_extent(model)
    codes = helper.make_tensor_value_info(CODES, TensorProto.INT8, [_dim(samples), width, *rows])

    device = Writer()
    device.taken |= {source.name, CODES}
    (features,) = device.section(model.front, [source.name])
    narrow = list(model.encoder.children())
    last = narrow[-1]
    assert isinstance(last, nn.Conv2d)
    latent = device.layers(nn.Sequential(*narrow[:-1], _leading(last, width)), features, "encoder")
    low, high = -(model.levels // 2), (model.levels - 1) // 2
    bounds = [
        device.constant(np.array(bound, np.float32), name) for bound, name in ((low, "lowest"), (high, "highest"))
    ]
    held = device.node("Clip", [device.node("Round", [latent], "rounded"), *bounds], "held")
    device.nodes.append(helper.make_node("Cast", [held], [CODES], name=CODES, to=TensorProto.INT8))
    shape = [_dim(samples), *(_dim(extent) for extent in (source.tensor_type.shape or ())[1:])]
    given = helper.make_tensor_value_info(source.name, TensorProto.FLOAT, shape)

    server = Writer()
    output = graph.output_names[0]
    server.taken |= {CODES, output}
    real = server.node("Cast", [CODES], "code_values", to=TensorProto.FLOAT)
    first = list(model.decoder.children())
    assert isinstance(first[0], nn.Conv2d)
    decoded = server.layers(nn.Sequential(_reading(first[0], width), *first[1:]), real, "decoder")
    (result,) = server.section(model.tail, [decoded])
    server.nodes.append(helper.make_node("Identity", [result], [output], name=output))
    shape = [_dim(samples), *(_dim(extent) for extent in (graph.outputs[0].tensor_type.shape or ())[1:])]
    answer = helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
    name = model.module.name
    return (
        _model(device.graph(f"{name}.device", [given], [codes])),
        _model(server.graph(f"{name}.server", [codes], [answer])),
    )


def whole(model: Bottleneck, width: int | None = None, batch: int | None = None) -> onnx.ModelProto:
    """Both halves as one model, which holds the value `codes`; arguments as for `halves`."""
    device, server = halves(model, width, batch)
    for part, prefix in ((device, "device."), (server, "server.")):
        kept = {CODES, *(item.name for item in (*part.graph.input, *part.graph.output))}
        for tensor in part.graph.initializer:
            tensor.name = f"{prefix}{tensor.name}"
        constants = {tensor.name.removeprefix(prefix) for tensor in part.graph.initializer}
        for node in part.graph.node:
            names = [_prefixed(name, prefix, kept) for name in node.input]
            assert constants.isdisjoint(kept)
            node.input[:] = names
            node.output[:] = [_prefixed(name, prefix, kept) for name in node.output]
            node.name = _prefixed(node.name, prefix, kept)
    graph = helper.make_graph(
        [*device.graph.node, *server.graph.node],
        model.module.name,
        device.graph.input,
        server.graph.output,
        [*device.graph.initializer, *server.graph.initializer],
    )
    return _model(graph)


def _prefixed(name: str, prefix: str, kept: set[str]) -> str:
    return name if not name or name in kept else f"{prefix}{name}"


def _leading(conv: nn.Conv2d, width: int) -> nn.Conv2d:
    """The convolution that gives the first channels only."""
    copy = nn.Conv2d(conv.in_channels, width, conv.kernel_size, conv.stride, conv.padding)
    assert conv.bias is not None and copy.bias is not None
    copy.weight.data, copy.bias.data = conv.weight.data[:width], conv.bias.data[:width]
    return copy


def _reading(conv: nn.Conv2d, width: int) -> nn.Conv2d:
    """The convolution that reads the first channels only; the others would be 0."""
    copy = nn.Conv2d(width, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=conv.bias is not None)
    copy.weight.data = conv.weight.data[:, :width]
    if copy.bias is not None and conv.bias is not None:
        copy.bias.data = conv.bias.data
    return copy


def _dim(extent: Any) -> Any:
    return extent if isinstance(extent, int) else str(extent)


def _code_extent(model: Bottleneck) -> list[int]:
    """Rows and columns of the codes."""
    shape: Any = model.cut.tensor_type.shape
    steps = [layer for layer in model.encoder.modules() if isinstance(layer, nn.Conv2d)]
    shrink = int(np.prod([layer.stride[0] for layer in steps]))
    return [int(extent) // shrink for extent in shape[2:]]


def with_exit(model: EarlyExit, rule: ExitRule) -> onnx.ModelProto:
    """The network for one sample, whose rest stands in the else-branch of an `If`.

    Inputs and outputs are the network's, with a batch of 1, and the output `left_early` (bool [1]).
    """
    main = _started(model.module)
    (features,) = main.section(model.body, [model.module.main.inputs[0].name])
    early = main.layers(model.head, features, "exit")
    return _stopping(main, model.module, early, rule, lambda go: go.section(model.rest, [features])[0])


def cascade(small: Module, large: Module, rule: ExitRule) -> onnx.ModelProto:
    """A small network, and a large one that runs where the small one is not sure: both for one sample.

    Args:
        small: one input and one output of scores [n, classes].
        large: the same interface; what the result is like.
        rule: calibrated on the scores of both.
    """
    main = _started(large)
    source = large.main.inputs[0].name
    (early,) = main.section(Section(small.main, small.main.inputs, small.main.outputs), [source])
    rest = Section(large.main, large.main.inputs, large.main.outputs)
    return _stopping(main, large, early, rule, lambda go: go.section(rest, [source])[0])


LEFT_EARLY = "left_early"


def _started(module: Module) -> Writer:
    """A writer in which the names of the interface are taken."""
    writer = Writer()
    writer.taken |= {module.main.inputs[0].name, module.main.output_names[0], LEFT_EARLY}
    return writer


def _stopping(
    main: Writer, module: Module, early: str, rule: ExitRule, rest: Callable[[Writer], str]
) -> onnx.ModelProto:
    """The end of a network that stops where the early scores are sure; `rest` writes the other scores."""
    graph = module.main
    source, output = graph.inputs[0], graph.output_names[0]
    threshold = main.constant(np.array([rule.threshold], np.float32), "exit.threshold")
    sureness = _SURENESS[rule.confidence](main, early)
    enough = main.node("GreaterOrEqual", [sureness, threshold], "exit.enough")
    main.nodes.append(helper.make_node("Identity", [enough], [LEFT_EARLY], name=LEFT_EARLY))
    classes: Any = graph.outputs[0].tensor_type.shape
    shape = [1, *(int(extent) for extent in classes[1:])]

    stop, go = Writer(main), Writer(main)
    stopped = stop.node("Identity", [early], "exit.answer")
    joined = rest(go)
    if rule.share:
        share = go.constant(np.array(rule.share, np.float32), "exit.share")
        joined = go.node("Add", [joined, go.node("Mul", [early, share], "exit.part")], "joined")
    branches = {
        "then_branch": helper.make_graph(stop.nodes, "stop", [], [_floats(stopped, shape)]),
        "else_branch": helper.make_graph(go.nodes, "go_on", [], [_floats(joined, shape)]),
    }
    main.nodes.append(helper.make_node("If", [enough], [output], name="exit", **branches))
    inputs: Any = source.tensor_type.shape
    given = _floats(source.name, [1, *(int(extent) for extent in inputs[1:])])
    flag = helper.make_tensor_value_info(LEFT_EARLY, TensorProto.BOOL, [1])
    return _model(main.graph(f"{module.name}_exit", [given], [_floats(output, shape), flag]))


def _floats(name: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def _energy(writer: Writer, scores: str) -> str:
    axes = writer.constant(np.array([1]), "exit.axes")
    return writer.node("ReduceLogSumExp", [scores, axes], "exit.energy", keepdims=0)


def _softmax(writer: Writer, scores: str) -> str:
    axes = writer.constant(np.array([1]), "exit.axes")
    return writer.node(
        "ReduceMax", [writer.node("Softmax", [scores], "exit.share_of", axis=1), axes], "exit.largest", keepdims=0
    )


def _entropy(writer: Writer, scores: str) -> str:
    axes = writer.constant(np.array([1]), "exit.axes")
    shares = writer.node("Softmax", [scores], "exit.share_of", axis=1)
    logs = writer.node("LogSoftmax", [scores], "exit.log_share", axis=1)
    return writer.node(
        "ReduceSum", [writer.node("Mul", [shares, logs], "exit.terms"), axes], "exit.entropy", keepdims=0
    )


_SURENESS = {"energy": _energy, "softmax": _softmax, "entropy": _entropy}


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="optc", producer_version=__version__
    )
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    onnx.checker.check_model(model, full_check=True)
    return model

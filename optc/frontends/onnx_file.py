"""Reading a model file and the checks that need no look inside the graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import defs

from optc.errors import ModelError

OLDEST_OPSET = 6
_UNSTATED_OPSET = 7  # of models that import no version


@dataclass(frozen=True)
class ModelFile:
    """A parsed model.

    Attributes:
        proto: the model; external data is not loaded.
        label: how errors call it.
        folder: where external data lies; None when the model came without a file.
        opsets: the version of each imported domain.
    """

    proto: onnx.ModelProto
    label: str
    folder: Path | None
    opsets: dict[str, int]


def read_model(source: str | Path | bytes | onnx.ModelProto) -> ModelFile:
    """Parse and check the outer layers of a model.

    Raises:
        ModelError: there is no such file, it is not ONNX, or its versions are outside what optc reads.
    """
    folder: Path | None = None
    if isinstance(source, onnx.ModelProto):
        proto, label = source, f"the model '{source.graph.name or 'unnamed'}'"
    else:
        if isinstance(source, bytes):
            data, label = source, "the given bytes"
        else:
            path = Path(source)
            data, label, folder = _read_bytes(path), str(path), path.parent
        proto = _parse(data, label)
    _check_text(proto, label)
    return ModelFile(proto, label, folder, _check_versions(proto, label))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        near = sorted(item.name for item in path.parent.glob("*.onnx"))[:5] if path.parent.is_dir() else []
        hint = f"ONNX files in that folder: {', '.join(near)}" if near else None
        raise ModelError("There is no such model file", where=str(path), hint=hint) from None
    except IsADirectoryError:
        raise ModelError(
            "The model is a folder, not a file", where=str(path), hint="Name the .onnx file in it."
        ) from None
    except OSError as error:
        raise ModelError("The model file cannot be read", where=str(path), why=error.strerror or str(error)) from None


def _parse(data: bytes, label: str) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    if not data:
        raise ModelError("The model file is empty", where=label, hint="Download or export it again.")
    if data.startswith(b"version https://git-lfs"):
        raise ModelError(
            "The model file is a Git LFS pointer", where=label, hint="Run `git lfs pull` in its repository."
        )
    try:
        proto.ParseFromString(data)
    except DecodeError:
        raise ModelError(
            "The file is not an ONNX model, or it is truncated",
            where=label,
            why=f"its {len(data)} bytes are no ModelProto message",
            hint="Download or export it again; `optc` reads .onnx and .pt2 files.",
        ) from None
    if not proto.HasField("graph") or not (proto.ir_version or proto.opset_import):
        raise ModelError(
            "The file is not an ONNX model, or it is truncated",
            where=label,
            why="the message holds no graph" if not proto.HasField("graph") else "the message names no version",
            hint="Download or export it again; `optc` reads .onnx and .pt2 files.",
        )
    return proto


def _check_versions(proto: onnx.ModelProto, label: str) -> dict[str, int]:
    newest = defs.onnx_opset_version()
    opsets: dict[str, int] = {}
    for item in proto.opset_import:
        domain = "" if item.domain == "ai.onnx" else item.domain
        if opsets.setdefault(domain, item.version) != item.version:
            raise ModelError(
                f"The model imports two versions of the domain '{domain or 'ai.onnx'}'",
                where=label,
                why=f"versions {opsets[domain]} and {item.version}",
            )
    version = opsets.setdefault("", _UNSTATED_OPSET)
    if version > newest:
        raise ModelError(
            f"The model uses ONNX opset {version}, which is newer than this optc knows",
            where=label,
            why=f"the installed onnx {onnx.__version__} knows opsets up to {newest}",
            hint="Upgrade the onnx package, or export the model with an older opset.",
        )
    return opsets


def _check_text(proto: onnx.ModelProto, label: str) -> None:
    """Refuse names that are no text: protobuf hands out bytes where a damaged file holds broken UTF-8."""
    texts = [proto.producer_name, proto.producer_version, proto.domain, *(item.domain for item in proto.opset_import)]
    for function in proto.functions:
        texts += [function.domain, function.name, *function.input, *function.output, *function.attribute]
        texts += [text for node in function.node for text in _texts_of_node(node)]
    for text in (*texts, *_texts_of_graph(proto.graph)):
        if not isinstance(text, str):
            raise ModelError(
                "The model is damaged: a name in it is no text",
                where=label,
                why=f"it reads {text!r}",
                hint="Download or export it again.",
            )


def _texts_of_graph(graph: onnx.GraphProto) -> Iterator[str]:
    yield graph.name
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name
        if value.type.HasField("tensor_type"):
            yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_param"))
    for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)):
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))
    for node in graph.node:
        yield from _texts_of_node(node)


def _texts_of_node(node: onnx.NodeProto) -> Iterator[str]:
    yield from (node.name, node.op_type, node.domain, node.overload, *node.input, *node.output)
    for attribute in node.attribute:
        yield attribute.name
        yield attribute.ref_attr_name
        if attribute.HasField("g"):
            yield from _texts_of_graph(attribute.g)

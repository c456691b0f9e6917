"""split.json: what is written is read again, and nothing that was changed or does not fit together is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from optc.artifact.checks import FormatFault
from optc.artifact.split_reading import check_half, decode_record, read_record
from optc.artifact.split_record import (
    CutTensor,
    Half,
    Predicted,
    SplitRecord,
    Way,
    encode_record,
    half_digest,
    write_record,
)
from optc.errors import OptcError
from optc.program import TensorInfo

IMAGE = TensorInfo("image", "float32", (1, 3, 8, 8))
MIDDLE = TensorInfo("relu1", "float32", (1, 4, 4, 4))
SCORES = TensorInfo("scores", "float32", (1, 10))


def half(folder: str, inputs: list[TensorInfo], outputs: list[TensorInfo]) -> Half:
    return Half(folder, "onnx", "rpi4", tuple(inputs), tuple(outputs), "ab" * 32)


def tensor(info: TensorInfo, encoding: str, size: int) -> CutTensor:
    assert info.shape is not None
    return CutTensor(info.name, info.dtype, tuple(extent or 0 for extent in info.shape), encoding, size)


def a_record() -> SplitRecord:
    sent, back = tensor(MIDDLE, "q8", 80), tensor(SCORES, "raw", 40)
    ways = (
        Way("local", half("local", [IMAGE], [SCORES]), None, (), (), Predicted(0.02, 0.0, 0.1, 5000)),
        Way(
            "remote",
            None,
            half("remote", [IMAGE], [SCORES]),
            (tensor(IMAGE, "q8", 200),),
            (back,),
            Predicted(0.0, 0.001),
        ),
        Way(
            "1",
            half("cuts/1/device", [IMAGE], [MIDDLE]),
            half("cuts/1/server", [MIDDLE], [SCORES]),
            (sent,),
            (back,),
            Predicted(0.004, 0.001, 0.02, 900),
        ),
    )
    link = {"name": "wifi", "rtt_seconds": 0.003}
    return SplitRecord(
        "net", "cd" * 32, "rpi4", "cpu", 2.0, link, "latency", (IMAGE,), (SCORES,), ways, "1", "optc split net.onnx"
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_record(tmp_path, a_record())
    assert read_record(tmp_path) == a_record()
    assert encode_record(read_record(tmp_path)) == (tmp_path / "split.json").read_bytes()


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    write_record(tmp_path, a_record())
    path = tmp_path / "split.json"
    path.write_bytes(path.read_bytes().replace(b'"raw"', b'"q4"'))
    with pytest.raises(OptcError) as error:
        read_record(tmp_path)
    assert str(error.value) == (
        f"the record of the split is damaged\n  at {path}\n  the checksum does not match: the file was changed"
    )


def test_a_lone_surrogate_is_refused(tmp_path: Path) -> None:
    write_record(tmp_path, a_record())
    path = tmp_path / "split.json"
    path.write_bytes(path.read_bytes().replace(b'"optc split net.onnx"', rb'"\ud800"'))
    with pytest.raises(OptcError, match="not valid Unicode"):
        read_record(tmp_path)


def test_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(OptcError, match="there is no split model"):
        read_record(tmp_path)


def test_the_identity_is_that_of_model_cuts_and_halves() -> None:
    record = a_record()
    assert dataclasses.replace(record, link={}, chosen="local", command="").identity == record.identity
    assert dataclasses.replace(record, source="ef" * 32).identity != record.identity
    local, remote, cut = record.ways
    slower = dataclasses.replace(cut, predicted=Predicted(1.0, 1.0))
    assert dataclasses.replace(record, ways=(local, remote, slower)).identity == record.identity
    coarser = dataclasses.replace(cut, sent=(dataclasses.replace(cut.sent[0], encoding="q4"),))
    assert dataclasses.replace(record, ways=(local, remote, coarser)).identity != record.identity


def test_ways_that_cannot_answer_are_refused() -> None:
    record = a_record()
    local, remote, cut = record.ways
    assert cut.device is not None and cut.server is not None
    cases = {
        "neither side does anything": dataclasses.replace(cut, device=None, server=None),
        "a value is sent that nothing makes": dataclasses.replace(cut, device=None),
        "what is sent is not what the server half reads": dataclasses.replace(cut, sent=()),
        "what returns is not what the server half makes": dataclasses.replace(cut, returned=()),
        "values are sent to a server that does nothing": dataclasses.replace(cut, server=None),
    }
    for reason, way in cases.items():
        with pytest.raises(FormatFault, match=reason):
            decode_record(encode_record(dataclasses.replace(record, ways=(local, remote, way))))
    outside = dataclasses.replace(cut, device=dataclasses.replace(cut.device, folder="../elsewhere"))
    with pytest.raises(FormatFault, match="no folder inside of the split model"):
        decode_record(encode_record(dataclasses.replace(record, ways=(local, remote, outside))))
    with pytest.raises(FormatFault, match=r"split\.chosen: '7' is none of local, remote, 1"):
        decode_record(encode_record(dataclasses.replace(record, chosen="7")))


def test_an_exit_is_kept_and_checked() -> None:
    record = a_record()
    local, remote, cut = record.ways
    assert cut.device is not None
    # The device half also gives the outputs that count when a request leaves there.
    device = dataclasses.replace(
        cut.device, outputs=(*cut.device.outputs, *record.outputs, TensorInfo("left", "bool", (1,)))
    )
    way = dataclasses.replace(cut, device=device, exit="left", predicted=Predicted(0.01, 0.02, None, 7, 0.25))

    def read(way: Way) -> Way:
        return decode_record(encode_record(dataclasses.replace(record, ways=(local, remote, way)))).ways[2]

    assert read(way) == way
    assert b'"exit"' not in encode_record(record) and b'"leaves"' not in encode_record(record)
    with pytest.raises(FormatFault, match="the device half does not make its exit 'gone'"):
        read(dataclasses.replace(way, exit="gone"))
    with pytest.raises(FormatFault, match="who leaves at the exit has no output"):
        read(
            dataclasses.replace(
                way, device=dataclasses.replace(device, outputs=(*cut.device.outputs, device.outputs[-1]))
            )
        )
    with pytest.raises(FormatFault, match=r"leaves: 1\.5 is no share"):
        read(dataclasses.replace(way, predicted=Predicted(0.0, 0.0, leaves=1.5)))


def test_every_field_is_checked() -> None:
    content = json.loads(encode_record(a_record()))
    for key in content:
        rest = {name: value for name, value in content.items() if name != key}
        with pytest.raises(FormatFault):
            decode_record(json.dumps(rest).encode())


def test_a_half_of_another_split_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "local"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"weights")
    local = a_record().ways[0].device
    assert local is not None
    with pytest.raises(OptcError, match="a half does not belong to the split model"):
        check_half(tmp_path, local)
    right = dataclasses.replace(local, sha256=half_digest(folder, "onnx"))
    assert check_half(tmp_path, right) == folder
    with pytest.raises(OptcError, match="a half of the split model is missing"):
        check_half(tmp_path, dataclasses.replace(right, folder="elsewhere"))

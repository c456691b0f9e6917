"""Files that are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from optc.cli.files import write_whole
from optc.errors import OptcError


def test_what_is_written_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    write_whole(path, b"new", "the model")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("place", "why"),
    [("none/m.onnx", "No such file or directory"), ("file/m.onnx", "Not a directory"), ("folder", "Is a directory")],
)
def test_what_cannot_be_written_leaves_nothing(place: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OptcError) as caught:
        write_whole(tmp_path / place, b"new", "the model")
    assert str(caught.value) == f"the model cannot be written\n  at {tmp_path / place}\n  {why}"
    assert {each.name for each in tmp_path.iterdir()} == {"file", "folder"}

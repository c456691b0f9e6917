"""`optc decompress`: the ONNX file of what `optc compress` wrote."""

from __future__ import annotations

from pathlib import Path

import click

from optc.cli.files import write_whole
from optc.cli.output import emit_facts, emit_json, size_text
from optc.cli.parameters import common
from optc.errors import OptcError


@click.command("decompress")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "output", type=click.Path(path_type=Path), help="The model (default: FILE with .onnx).")
@click.option("--limit", default="8G", show_default=True, help="Bytes that the model may have, such as 500M.")
@common
def command(file: Path, output: Path | None, limit: str, as_json: bool) -> None:
    """Write the ONNX model in FILE (.optcz); nothing is written where a checksum does not match."""
    from optc.driver.compression.archive import unpack
    from optc.sizes import parse_size

    try:
        content = file.read_bytes()
    except OSError as fault:
        raise OptcError("the file cannot be read", where=str(file), why=fault.strerror) from fault
    most = parse_size(limit)
    model = unpack(content, str(file), limit=most) if most is not None else unpack(content, str(file))
    written = output or file.with_suffix(".onnx")
    text = model.SerializeToString(deterministic=True)
    write_whole(written, text, "the model")
    if as_json:
        emit_json({"output": str(written), "bytes": len(text), "compressed": len(content)})
    else:
        emit_facts([("model", f"{written}, {size_text(len(text))}"), ("from", size_text(len(content)))])

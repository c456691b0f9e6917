"""Pictures that commands write: SVG text, as SVG or as PNG."""

from __future__ import annotations

from pathlib import Path

from optc.cli.files import write_whole
from optc.errors import UsageError

ENDINGS = (".svg", ".png")


def check_picture(path: Path) -> None:
    """Check the ending of a picture's file before anything is worked out for it.

    Raises:
        UsageError: it names a format that optc does not write.
    """
    if path.suffix.lower() not in ENDINGS:
        ending = f"ends in '{path.suffix}'" if path.suffix else "has no ending"
        raise UsageError(
            "no picture of this kind can be written",
            where=str(path),
            why=f"the file name {ending}",
            hint=f"end it in {' or '.join(ENDINGS)}",
        )


def write_picture(path: Path, picture: str) -> None:
    """Write an SVG text as what the path's ending says.

    Raises:
        UsageError: the ending is neither .svg nor .png.
        OptcError: the file cannot be written, or Pillow is missing for a PNG file.
    """
    check_picture(path)
    if path.suffix.lower() == ".png":
        from optc.report.raster import write_png

        write_png(path, picture)
        return
    write_whole(path, picture.encode(), "the picture")

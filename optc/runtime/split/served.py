"""A split model as a server holds it: its halves, opened, and what clients are told of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from optc.artifact.split_reading import check_half, read_record
from optc.artifact.split_record import SplitRecord
from optc.errors import OptcError
from optc.runtime.split.frames import MODEL_BYTES
from optc.runtime.split.messages import Ready
from optc.runtime.split.tiers import NextTier
from optc.runtime.split.ways import OpenWay, open_way


@dataclass(frozen=True)
class Served:
    """One split model.

    Attributes:
        record: of it.
        ways: that the server takes part in, by their number in the record.
        ready: what clients are told when they were admitted.
    """

    record: SplitRecord
    ways: dict[int, OpenWay]
    ready: Ready

    @property
    def identity(self) -> bytes:
        """What clients have to name."""
        return bytes.fromhex(self.record.identity)

    @property
    def model(self) -> bytes:
        """What every frame names."""
        return self.identity[:MODEL_BYTES]

    def close(self) -> None:
        """Free the halves."""
        for way in self.ways.values():
            if way.engine is not None:
                way.engine.close()


def serve_folder(
    folder: Path, *, workers: int, threads: int | None, in_flight: int, beyond: NextTier | None = None
) -> Served:
    """Open the server halves of a folder.

    Args:
        folder: what `optc split` wrote.
        workers: requests that are computed at a time.
        threads: of each of them.
        in_flight: requests of one connection that wait or are computed.
        beyond: who computes the rest of halves that are split themselves.

    Raises:
        OptcError: there is no split model, or this machine cannot run its server halves, or there are none.
    """
    record = read_record(folder)
    ways = {}
    for entry, way in enumerate(record.ways):
        if way.server is not None:
            ways[entry] = open_way(folder, record, entry, server=True, copies=workers, threads=threads, beyond=beyond)
            ways[entry].warm_up(way.server.inputs, ways[entry].returned)
    if not ways:
        raise OptcError("the split model has nothing for a server to do", where=str(folder))
    ready = Ready(
        frame_bytes=max(way.sent.message_bytes for way in ways.values()),
        tensor_bytes=max(way.sent.value_bytes for way in ways.values()),
        in_flight=in_flight,
        workers=workers,
        entries=len(ways),
    )
    return Served(record, ways, ready)


def next_folders(folder: Path) -> Iterator[Path]:
    """The split models that the server of a folder is itself the device of: what its next tier serves.

    Raises:
        OptcError: there is no split model, or one of those is missing.
    """
    for way in read_record(folder).ways:
        if way.server is not None and way.server.kind == "split":
            yield check_half(folder, way.server)

"""`--compress-weights`: the weights file in fewer bytes, which the runtime decodes when it opens the model."""

from __future__ import annotations

from dataclasses import dataclass

from optc.backends.host.platform import POSIX, platform_of
from optc.driver.options import CompileOptions
from optc.driver.program.assembly import Assembly
from optc.errors import UsageError
from optc.passes.compression.stored_weights import pack_weights
from optc.targets.target import Target

OPTION = "--compress-weights"


@dataclass(frozen=True)
class StoredWeights:
    """What becomes of the weights.

    Attributes:
        pieces: of weights.bin.
        bytes: of them together.
    """

    pieces: list[bytes]
    bytes: int


def check_compression(target: Target, options: CompileOptions) -> None:
    """Check that the target and the other options allow it.

    Raises:
        UsageError: they do not.
    """
    if not options.compress_weights:
        return
    if platform_of(target) is not POSIX or target.llvm.get("kind") != "llvm":
        raise UsageError(
            "weights are decoded only on processors under Linux or macOS",
            where=f"{OPTION} with --target {target.name}",
        )
    if options.weight_memory is not None:
        raise UsageError(
            "weights that are read while the model runs lie in the file as they are",
            where=f"{OPTION} with --weight-memory",
            hint="leave out one of the two",
        )
    if options.emit:
        raise UsageError(
            "a library holds its weights as they are", where=f"{OPTION} with --emit", hint="leave out one of the two"
        )


def stored_weights(assembly: Assembly, options: CompileOptions) -> StoredWeights | None:
    """The weights packed; None where that was not asked, or does not make them smaller."""
    if not options.compress_weights:
        return None
    pieces = pack_weights(assembly.weights.chunks)
    size = sum(len(piece) for piece in pieces)
    return StoredWeights(pieces, size) if size < assembly.program.weights_bytes else None

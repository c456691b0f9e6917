"""Coverage-guided fuzzing of one surface: `python tests/fuzzing/campaign.py onnx_model --seconds 3600 --corpus DIR`.

Stops at the first input that crashes, takes over 10 seconds or 2 GB, or raises; the input is left in the corpus folder.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import random
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
SURFACES = ("onnx_model", "ir_text", "artifact_folder", "split_frames")
SECONDS_AN_INPUT = 10  # of processor time: a machine under load takes longer
WALL_SECONDS_AN_INPUT = 600
MEGABYTES = 2048


def main() -> None:
    """Fuzz until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("surface", choices=SURFACES)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, required=True, help="a folder for what was found to be interesting")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    import atheris

    with atheris.instrument_imports(include=["optc"]):
        surface = importlib.import_module(f"fuzzing.{options.surface}").SURFACE
        seeds = [*surface.seeds(), *surface.more_seeds()]
        for seed in seeds:
            surface.run(seed)
    options.corpus.mkdir(parents=True, exist_ok=True)
    committed = [path.read_bytes() for path in sorted((Path(__file__).parent / "corpus" / surface.name).glob("*"))]
    for seed in [*seeds, *committed]:
        (options.corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        choices = random.Random(seed)
        if surface.mutate is None or choices.random() < 0.3:
            return atheris.Mutate(data, size)
        return surface.mutate(data, choices)[:size]

    def run(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS_AN_INPUT)
        surface.run(data)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    signal.signal(signal.SIGVTALRM, _too_slow)
    arguments = [
        sys.argv[0],
        f"-max_total_time={options.seconds}",
        f"-timeout={WALL_SECONDS_AN_INPUT}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-seed={options.seed}",
        "-max_len=65536",
        "-print_final_stats=1",
        f"-artifact_prefix={options.corpus.parent}/{surface.name}-",
        str(options.corpus),
    ]
    atheris.Setup(arguments, run, custom_mutator=mutate)
    atheris.Fuzz()


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"an input takes over {SECONDS_AN_INPUT} s")


if __name__ == "__main__":
    main()

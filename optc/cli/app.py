"""The command group: lazy commands, and one place where every error becomes a message and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

import click

from optc import __version__
from optc.cli import failures
from optc.cli.lazy import LazyGroup
from optc.cli.response import expanded
from optc.errors import UsageError

COMPLETION = "_OPTC_COMPLETE"
"""The environment variable by which the script of `optc completion` asks."""

COMMANDS: dict[str, str] = {
    "compile": "Compile a model into a native, verified artifact.",
    "quantize": "Quantize a model on data, or show what each layer would lose.",
    "prune": "Take out channels and ranks where a target gets faster, within a bound.",
    "protect": "Make a model ignore results that its layers never gave before.",
    "faults": "Flip bits of weights and activations and count changed answers.",
    "compress": "Store a model in fewer bytes, losslessly or to a wanted ratio.",
    "decompress": "Make the ONNX file of a compressed model again.",
    "split": "Decide what runs on a device and what on a server, and build both sides.",
    "tune": "Measure schedules on this machine; export and import them.",
    "run": "Run an artifact on given or random inputs.",
    "serve": "Compute the server's part of a split model for devices.",
    "bench": "Measure the latency of an artifact.",
    "device": "Name and check devices that artifacts are measured on.",
    "explain": "Show what became of a model and why, and what to try next.",
    "profile": "Show the time and efficiency of each step of an artifact.",
    "verify": "Compare an artifact's outputs with those of the source model.",
    "inspect": "Show what a model or an artifact holds and costs.",
    "memory": "Solve and check memory plans, and draw an artifact's.",
    "opt": "Run passes over a model or IR text and write the IR.",
    "passes": "List the passes and their options.",
    "costmodel": "Train, judge, list and use learned predictors of latency.",
    "targets": "List the targets, and measure this machine.",
    "cache": "Show and trim what is kept between compiles.",
    "build": "Compile the models of a project file, those that changed.",
    "cmake-dir": "Print the folder with the CMake module.",
    "completion": "Print the completion script of a shell.",
    "serve-compile": "Compile models that clients send over HTTP.",
    "sign": "Sign an artifact, or make a key.",
    "verify-signature": "Check an artifact against its signature.",
    "doctor": "Show what optc finds on this machine.",
}

EPILOG = """\b
Exit codes:
  0   done
  1   the input or the machine is at fault
  2   wrong usage: an option, a name or an argument
  3   a limit that you set cannot be met
  4   verification failed: the numbers differ from the source model
  70  a bug in optc; the message holds the command that replays it
"""


@click.group(
    cls=LazyGroup,
    catalog=COMMANDS,
    package="optc.cli.commands",
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="optc %(version)s")
def cli() -> None:
    """Compile trained models into fast, verified native code that needs nothing on the device.

    Every command takes --json (one JSON object on standard output, nothing else) and -v (traces).
    """


def run(argv: Sequence[str]) -> int:
    """Run a command line and return its exit code; every error is reported, none gets out."""
    try:
        argv = expanded(argv)
    except UsageError as error:
        return failures.report(error, argv, verbose=False, as_json="--json" in argv)
    words = argv[: argv.index("--")] if "--" in argv else argv
    verbose = "-v" in words or "--verbose" in words
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s", force=True)
    logging.getLogger("optc").setLevel(logging.DEBUG if verbose else logging.WARNING)
    try:
        if not argv:
            argv = ["--help"]
        cli.main(list(argv), prog_name="optc", standalone_mode=False, obj=list(argv))
        sys.stdout.flush()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException as error:
        if os.environ.get(COMPLETION):  # a shell asks while its user types
            return 1
        return failures.report(error, argv, verbose=verbose, as_json="--json" in words)
    return 0

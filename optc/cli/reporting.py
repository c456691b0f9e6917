"""What commands show of an artifact: a profile on this machine, the explanation, and the page of both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from optc.cli.files import write_whole
from optc.cli.output import Progress
from optc.errors import OptcError

if TYPE_CHECKING:
    from optc.report.explanation import Explanation
    from optc.report.profile import Profile
    from optc.targets.target import Target


def measured_profile(
    artifact: str, inputs: tuple[str, ...] = (), threads: int | None = None, runs: int | None = None
) -> Profile:
    """Profile an artifact.

    Args:
        artifact: its folder.
        inputs: as given on the command line; the rest are random.
        threads: of the runs; None for what the artifact was compiled for.
        runs: to measure; None for about a second of them.

    Raises:
        OptcError: it cannot run here, or does not say what its steps compute.
    """
    from optc.cli.arrays import read_inputs
    from optc.report.profile import measure
    from optc.runtime import load
    from optc.runtime.random_inputs import random_inputs

    given = read_inputs(inputs)
    with load(artifact, threads=threads) as loaded, Progress() as progress:
        values = {**given, **random_inputs([info for info in loaded.inputs if info.name not in given])}
        progress("measuring the peak of this machine")
        target = _this_machine()
        progress("measuring the steps")
        return measure(loaded, values, target, runs)


def _this_machine() -> Target:
    """This machine, measured if that is possible; the peak's source says whether it was."""
    from optc.targets.host import host, measured_host

    try:
        return measured_host()
    except OptcError:
        return host()


def read_explanation(artifact: str, profile: Profile | None = None) -> Explanation:
    """What an artifact says of its decisions.

    Args:
        artifact: its folder.
        profile: of a run of it, if there was one.

    Raises:
        OptcError: there is no artifact, or an older optc wrote it.
    """
    from optc.artifact import read
    from optc.report.explanation import explanation

    files = read(artifact, check_host=False)
    manifest, name = files.manifest, Path(artifact).resolve().name
    return explanation(name, manifest.target, manifest.cost, manifest.command, files.decisions, profile)


def write_report(path: Path, explained: Explanation) -> None:
    """Write the page of an artifact.

    Raises:
        OptcError: the file cannot be written.
    """
    from optc.report.report import report_page

    write_whole(path, report_page(explained).encode(), "the report")

"""What the benchmark scripts compute from figures and print; nothing here measures."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import peers, report, tables  # noqa: E402
from benchmarks.runtimes import Peer, Run, Subject  # noqa: E402


def row(milliseconds: dict[str, float], absent: dict[str, str] | None = None, **more: object) -> dict:
    """A row as benchmarks/peers.py records it."""
    return {
        "milliseconds": milliseconds,
        "absent": absent or {},
        "spread": dict.fromkeys(milliseconds, 0.02),
        "errors": {"optc": 1e-6},
        **more,
    }


@pytest.fixture
def figures() -> dict:
    rows = {
        "one": row({"optc": 2.0, "a": 4.0, "b": 8.0}, efficiency=0.75),
        "two": row({"optc": 8.0, "a": 4.0}, {"b": "its results differ from onnxruntime's"}),
        "three": row({"a": 1.0, "b": 2.0}, {"optc": "ModelError: no"}),
    }
    facts = {"processor": "P", "cores": 2, "versions": {"a": "1.0"}, "commit": "abc", "peak_flops": 1e11}
    return {"facts": facts, "peers": ["optc", "a", "b"], "threads": {"1": rows}}


def test_geometric_mean():
    assert tables.geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)
    assert math.isnan(tables.geometric_mean([]))


@pytest.mark.parametrize(
    ("ours", "reference", "error"),
    [
        (np.float32([1.0, 2.0]), np.float32([1.0, 4.0]), 0.5),
        (np.float32([[1.0, 2.0]]), np.float32([1.0, 2.0]), 0.0),
        (np.float32([1.0]), np.float32([1.0, 2.0]), math.inf),
        (np.float32([np.nan, 1.0]), np.float32([1.0, 1.0]), math.inf),
        (np.float32([np.inf, 1.0]), np.float32([np.inf, 2.0]), 0.5),
        (np.int64([1, 2, 3, 4]), np.int64([1, 2, 3, 5]), 0.25),
        (np.float32([]), np.float32([]), 0.0),
    ],
)
def test_relative_error(ours, reference, error):
    assert tables.relative_error(ours, reference) == pytest.approx(error)


def test_peers_table_names_the_best_and_leaves_absent_ones_out_of_the_means(figures):
    lines = tables.peers_table(figures["threads"]["1"], ["a", "b"], efficiency=True).splitlines()
    assert lines == [
        "| model | optc | a | b | optc / best | of peak |",
        "|---|---:|---:|---:|---:|---:|",
        "| one | 2.000 | **4.000 (0.50)** | 8.000 (0.25) | 0.50 | 75% |",
        "| two | 8.000 | **4.000 (2.00)** | – | 2.00 | – |",
        "| three | – | **1.000** | 2.000 | – | – |",
        "| geometric mean (models) |  | 1.000 (2) | 0.250 (1) | 1.000 (2) |  |",
    ]


def test_absences_are_named_with_their_models(figures):
    assert tables.absences(figures["threads"]["1"]) == [
        "* b, two: its results differ from onnxruntime's",
        "* optc, three: ModelError: no",
    ]
    everywhere = {name: row({}, {"ncnn": "ncnn is not installed"}) for name in ("one", "two")}
    assert tables.absences(everywhere) == ["* ncnn, all models: ncnn is not installed"]


def test_report_states_limits_beside_figures(figures):
    page = report.results({"peers": figures}, "Notes.")
    assert "| latency over the best peer's, 1 thread, geometric mean | 0.80 | 1.000 |" in page
    assert "| latency over the best peer's, 1 thread, worst model | 1.00 | 2.00 (two) |" in page
    assert "P, 2 cores; 100 GFLOP/s f32 on one core; commit abc; a 1.0." in page
    assert page.count("Not measured.") == 3


def test_a_peer_that_is_not_installed_is_absent_with_its_reason(monkeypatch):
    monkeypatch.setattr(Peer, "registry", dict(Peer.registry))

    class Missing(Peer):
        name = "missing"
        package = "no-such-distribution"

        def load(self, subject: Subject, folder: Path) -> Run:
            raise AssertionError

    assert peers.versions_of(["missing"]) == ({}, {"missing": "no-such-distribution is not installed"})


def test_rows_keep_the_order_of_the_zoo_and_files_are_written_whole(tmp_path, figures):
    figures["threads"] = {}
    for name in ("silero_vad", "resnet18"):
        peers.add_row(figures, Subject(name, Path(), {}, 2, Path()), row({"optc": 1.0}))
    assert list(figures["threads"]["2"]) == ["resnet18", "silero_vad"]
    peers.write(figures, tmp_path / "new" / "peers")
    assert json.loads((tmp_path / "new" / "peers.json").read_text()) == figures
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["peers.json", "peers.md"]


def test_efficiency_is_ideal_over_real_time():
    one = row({"optc": 2.0}, flops=10**8)
    peers.add_efficiency(one, 1e11)
    assert one["efficiency"] == pytest.approx(0.5)
    other = row({"a": 2.0}, flops=10**8)
    peers.add_efficiency(other, 1e11)
    assert "efficiency" not in other

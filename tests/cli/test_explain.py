"""`optc explain`: an artifact as a whole, each kind of name, and the page in a browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_kit import model, node, value

from optc.artifact import read
from optc.cli.app import run

Capture = pytest.CaptureFixture[str]
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def _model(path: Path) -> None:
    """Two convolutions with a residual between them, a view of the sum, what folds away, and a determinant."""
    random = np.random.default_rng(0)
    weights = {f"k{i}": random.normal(size=(16, 16, 3, 3)).astype(np.float32) / 12 for i in (1, 2)}
    nodes = [
        node("Identity", "x", "same", "same"),
        node("Conv", "same k1", "c1", "first", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1", "relu"),
        node("Conv", "r1 k2", "c2", "second", pads=[1, 1, 1, 1]),
        node("Add", "c2 x", "sum", "add"),
        node("Shape", "sum", "extents", "shape"),
        node("Det", "sum", "d", "det"),
        node("Reshape", "sum flat", "y", "view"),
    ]
    outputs = [value("y", ["batch", None]), value("d", ["batch", 16]), value("extents", [4], onnx.TensorProto.INT64)]
    weights["flat"] = np.array([0, -1])
    onnx.save(model(nodes, [value("x", ["batch", 16, 8, 8])], outputs, weights), path)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explain")
    _model(path / "net.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPTC_CACHE_DIR", str(path / "cache"))
        argv = ["compile", str(path / "net.onnx"), "-o", str(path / "net.optc"), "--dim", "batch=1", "--tune", "0"]
        assert run([*argv, "--threads", "1", "--report", str(path / "compiled.html")]) == 0
    return path / "net.optc"


def _facts(artifact: Path, name: str, capsys: Capture) -> dict[str, str]:
    capsys.readouterr()
    assert run(["explain", str(artifact), name, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["name"] == name
    facts: dict[str, str] = {}
    for each in record["facts"]:
        facts.setdefault(each["what"], each["text"])
    return facts


def test_the_whole(artifact: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert run(["explain", str(artifact)]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line.split()[0] for line in lines[:4]]
    assert heads == ["model", "plan", "latency", "arena"]
    assert lines[1].split("  ")[-1].strip() == "8 operations became 2 kernels, 1 copy, 1 region in onnxruntime"
    assert " predicted (" in lines[2] and lines[2].endswith("not measured here")
    assert lines[5].split()[:4] == ["#", "kernel", "made", "by"]
    assert "in onnxruntime  it has no native lowering: det" in lines
    assert any(line.startswith("try next") and line.endswith("--calib DATA") for line in lines)
    assert any("worth: only a measurement can tell" in line for line in lines)


def test_json_says_of_each_time_what_it_is(artifact: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert run(["explain", str(artifact), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    files = read(artifact)
    assert len(record["steps"]) == len(files.decisions["steps"]) and record["measured_seconds"] is None
    kernels = [step for step in record["steps"] if step["chosen"]]
    assert sum(step["predicted_seconds"] for step in kernels) == pytest.approx(record["predicted_seconds"])
    assert {"predicted", "measured"} <= set(kernels[0]["chosen"])
    assert [step["nodes"] for step in kernels] == [["first", "relu"], ["second", "add"]]
    assert record["fallbacks"] == [{"nodes": ["det"], "why": files.manifest.fallbacks[0]["reason"]}]


def test_a_node_says_with_what_it_was_fused_and_why_not_with_more(artifact: Path, capsys: Capture) -> None:
    facts = _facts(artifact, "second", capsys)
    assert facts["in the model"] == "Conv makes 'c2': tensor<1x16x8x8xf32>"
    assert facts["went to"].startswith("kernel #1 (") and facts["fused with"].startswith("'add' (3 operations in one")
    assert facts["apart from #0"].startswith("'first', 'relu' (makes what it reads): Conv and Conv are two loop nests")
    assert facts["stored"] == "'c2' is never stored: it stays inside kernel #1" and facts["precision"] == "f32"
    assert " predicted" in facts["time"] and "measured" not in facts["time"]


def test_a_value_says_where_it_lies(artifact: Path, capsys: Capture) -> None:
    facts = _facts(artifact, "r1", capsys)
    (buffer,) = [each for each in read(artifact).decisions["memory"]["buffers"] if each["name"] == "r1"]
    first, end = buffer["offset"], buffer["offset"] + buffer["bytes"]
    assert facts["stored"] == (
        f"'r1' at bytes {first} to {end} of the arena (4.0 KiB), live from 'first' … to 'second' …"
    )
    assert facts["layout"].endswith("; f32") and facts["made in"].startswith("kernel #0 (")


@pytest.mark.parametrize(
    ("name", "fact", "text"),
    [
        ("same", "went to", "no code of its own: the pass canonicalize did remove-identity"),
        ("shape", "went to", "no code: all that it reads is known, so it was computed when the model was compiled"),
        ("det", "not native", "it has no native lowering"),
        ("x", "in the model", "an input: it lies in the caller's buffer"),
        ("#0", "fused with", "'first', 'relu'"),
        ("c1", "stored", "'c1' is never stored: it stays inside kernel #0"),
    ],
)
def test_other_names(artifact: Path, capsys: Capture, name: str, fact: str, text: str) -> None:
    assert _facts(artifact, name, capsys)[fact].startswith(text)


def test_a_name_that_is_not_there(artifact: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert run(["explain", str(artifact), "secnd"]) == 2
    assert capsys.readouterr().err == (
        "error: nothing in the model is called 'secnd'\n  at net.optc\n  hint: did you mean 'second'?\n"
    )


def test_measured_times_stand_beside_the_predicted(artifact: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert run(["explain", str(artifact), "--measure", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["measured_seconds"] > 0 and all(step["measured_seconds"] >= 0 for step in record["steps"])


def test_pictures_have_known_endings(artifact: Path, capsys: Capture, tmp_path: Path) -> None:
    for command in (["profile", str(artifact)], ["memory", "show", str(artifact)]):
        capsys.readouterr()
        assert run([*command, "--plot", str(tmp_path / "x.foo")]) == 2
        assert capsys.readouterr().err == (
            f"error: no picture of this kind can be written\n  at {tmp_path / 'x.foo'}\n"
            "  the file name ends in '.foo'\n  hint: end it in .svg or .png\n"
        )
    assert not list(tmp_path.iterdir())


# What a person would do, and what the page then shows; a click that fails ends in `faults` too.
DRIVER = """
<script>
  const $ = (what) => document.querySelector(what), all = (what) => [...document.querySelectorAll(what)];
  const visible = (each) => getComputedStyle(each).display !== "none";
  const shown = () => all("svg.graph").filter(visible).map((each) => each.id);
  const fill = () => getComputedStyle($("svg.kernels .node rect")).fill;
  const seen = {graphs: [shown()], fills: [fill()], dark: matchMedia("(prefers-color-scheme: dark)").matches};
  seen.surface = getComputedStyle(document.body).backgroundColor;
  seen.panel = $("#panel h3").textContent;
  $("input[value=precision]").click();
  seen.fills.push(fill());
  $("input[value=memory]").click();
  seen.fills.push(fill());
  seen.keys = all(".key.shown").map((each) => each.dataset.of);
  const place = () => $("svg.kernels .scene").getAttribute("transform");
  seen.places = [place()];
  $("button[data-zoom=in]").click();
  seen.places.push(place());
  $("input[value=source]").click();
  seen.graphs.push(shown());
  $("svg.source .node").dispatchEvent(new MouseEvent("click", {bubbles: true}));
  seen.node = $("#panel h3").textContent;
  $("#search").value = "second";
  $("#search").dispatchEvent(new Event("input"));
  seen.found = $("#found").textContent;
  const order = () => all("table.plan tbody tr").map((each) => each.dataset.key);
  seen.orders = [order()];
  all("table.plan th button").find((each) => each.textContent === "predicted").click();
  seen.orders.push(order());
  $("table.plan tbody tr td").click();
  seen.row = $("#panel h3").textContent;
  seen.faults = faults;
  document.title = JSON.stringify(seen);
</script>
"""
WATCH = '<script>const faults = []; addEventListener("error", (event) => faults.push(event.message));</script>'


def _shown(page: str, folder: Path, *flags: str) -> tuple[Any, str]:
    """What the driver saw on a page in a browser, and what the browser logged of it."""
    place = folder / "driven.html"
    place.write_text(page.replace("<body", WATCH + "<body", 1).replace("</body>", DRIVER + "</body>"))
    own = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]
    command = [str(BROWSER), *own, *flags, f"--user-data-dir={folder / 'browser'}", "--dump-dom", place.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    (title,) = re.findall("<title>([^<]*)</title>", done.stdout.split("</head>")[0])
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(title)), "\n".join(console)


@pytest.mark.skipif(BROWSER is None, reason="no chromium")
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_in_a_browser(artifact: Path, tmp_path: Path, capsys: Capture, dark: bool) -> None:
    assert run(["explain", str(artifact), "--html", str(tmp_path / "report.html")]) == 0
    assert capsys.readouterr().out.endswith(f"\nwritten to {tmp_path / 'report.html'}\n")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (artifact.parent / "compiled.html").read_text(encoding="utf-8") == page
    seen, console = _shown(page, tmp_path, *(["--force-dark-mode"] if dark else []))
    assert console == "" and seen["faults"] == []
    assert seen["dark"] is dark and seen["surface"] == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")
    assert seen["graphs"] == [["kernels"], ["source"]] and len(set(seen["fills"])) == 3 and seen["keys"] == ["memory"]
    assert seen["places"][0] != seen["places"][1]
    assert seen["panel"].startswith("#") and seen["node"] == "Identity same" and seen["found"].startswith("1 found")
    first, sorted_ = seen["orders"]
    times = {f"k{step['symbol'] and i}": step["predicted_seconds"] or 0.0 for i, step in _steps(artifact)}
    assert first == list(times) and sorted_ == sorted(times, key=lambda key: -times[key])
    assert seen["row"].startswith(f"#{sorted_[0][1:]} ")


def _steps(artifact: Path) -> list[tuple[int, Any]]:
    return list(enumerate(read(artifact).decisions["steps"]))

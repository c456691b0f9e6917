"""What the command line may import before it knows what to do: nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("numpy", "onnx", "onnxruntime", "onnxscript", "onnx_ir", "tvm", "torch", "sympy", "rich", "lark", "networkx")


def _imported(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint('MODULES', *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.rsplit("MODULES", 1)[1].split()}


@pytest.mark.parametrize(
    "code",
    [
        "import optc",
        "import optc.cli",
        "from optc.cli.app import run; run(['--help'])",
        "from optc.cli.app import run; run(['--version'])",
        "from optc.cli.app import run; run(['compile', '--help'])",
        "from optc.cli.app import run; run(['nonsense'])",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    assert not _imported(code) & set(HEAVY)


@pytest.mark.parametrize("name", ["run", "bench", "profile", "verify"])
def test_running_an_artifact_needs_no_compiler(name: str) -> None:
    argv = [name, "none", *(["--reference", "m"] if name == "verify" else [])]
    code = f"from optc.cli.app import run; assert run({argv}) == 1"
    assert not _imported(code) & {"tvm", "torch", "sympy", "lark", "onnx", "onnxscript"}

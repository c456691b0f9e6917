"""The pages that the site makes of the code name all there is; links in the documentation lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from optc import targets
from optc.cli.app import COMMANDS
from optc.passes import registry

ROOT = Path(__file__).parents[2]
GENERATED = "reference/", "targets/", "benchmarks/"  # results come from runs of the benchmarks
_LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]+)(?:#[^)]*)?\)")
_CODE = re.compile(r"^```.*?^```", re.M | re.S)


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "generate" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_and_pass_is_there(reference: ModuleType) -> None:
    commands, passes = reference.commands(), reference.passes()
    assert all(f"\n## optc {name}\n" in commands for name in COMMANDS)
    assert "\n### optc memory show\n" in commands and "--min-snr" in commands
    assert all(f"\n## {name}\n" in passes for name in registry.available())
    assert "| `max-operations` | int | 32 | in one group. |" in passes


def test_every_operation_with_its_kind(reference: ModuleType) -> None:
    page = reference.operations()
    contraction = page.split("\n## contraction\n")[1].split("\n## ")[0]
    assert "| `onnx.Conv` | yes |" in contraction and "| `onnx.Relu` |" not in contraction


def test_a_page_for_each_target_that_ships(reference: ModuleType) -> None:
    pages = reference.targets()
    assert set(pages) == {f"targets/{name}.md" for name in targets.available() if name != "cpu"}
    assert "`aarch64-linux-gnu-gcc`" in pages["targets/rpi4.md"] and "--target rpi4" in pages["targets/rpi4.md"]
    assert not any(str(ROOT) in text for text in pages.values())


@pytest.mark.parametrize("page", ["README.md", *(str(p.relative_to(ROOT)) for p in sorted(ROOT.glob("docs/**/*.md")))])
def test_links_lead_somewhere(page: str) -> None:
    place = ROOT / page
    text = _CODE.sub("", place.read_text(encoding="utf-8"))
    for target in _LINK.findall(text):
        made = any(target.removeprefix("../").startswith(each) for each in GENERATED)
        assert target.startswith("http") or made or (place.parent / target).exists(), target

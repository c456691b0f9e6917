"""Which templates take a group is found once, and kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from contraction_cases import GroupBuilder

from optc.backends.tvm import templates  # noqa: F401  (registers the templates)
from optc.backends.tvm.acceptance import accepting_templates
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Template
from optc.backends.tvm.workload import workload_key
from optc.targets import load


def softmax_group() -> Group:
    builder = GroupBuilder()
    return builder.group(builder.op("onnx.Softmax", builder.input((4, 32)), axis=-1))


def test_a_known_answer_needs_no_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path))
    target, group = load("cpu"), softmax_group()
    key = workload_key(group, target)
    first = accepting_templates(key, group, target)
    assert [template.name for template in first if isinstance(template, Template)] == ["rowwise"]
    for template in Template.registry.values():
        monkeypatch.setattr(type(template), "refuses", lambda *_: pytest.fail("asked again"))
    assert accepting_templates(key, softmax_group(), target) == first


def test_a_refusal_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path))
    target, group = load("cpu"), softmax_group()
    for template in Template.registry.values():
        monkeypatch.setattr(type(template), "refuses", lambda *_: "out of order")
    first = accepting_templates("a key", group, target)
    assert isinstance(first, str) and first.endswith(": out of order")
    monkeypatch.undo()
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path))
    assert accepting_templates("a key", group, target) == first
    assert accepting_templates("another key", group, target) != first

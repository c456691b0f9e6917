"""Target files: all that ship are complete, inheritance, entry points, and errors that name file and key."""

from __future__ import annotations

import dataclasses
from importlib.metadata import EntryPoint
from itertools import pairwise
from pathlib import Path

import pytest

from optc.errors import UsageError
from optc.targets import available, library, load
from optc.targets.library import host_of
from optc.targets.schema import inherit

MINIMAL = 'description = "a box"\nbackends = ["onnx"]\n'


def write(folder: Path, text: str, name: str = "box.toml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_the_shipped_targets() -> None:
    names = available()
    assert names[0] == "cpu"
    shipped = {"aarch64", "cortex-m7", "cuda", "jetson-orin", "jetson-tx2", "rpi4", "x86-64-v3"}
    shipped |= {"stm32h743i-eval", "tda4vm", "cortex-m4", "cortex-m55", "riscv32"}
    shipped |= {"jetson", "jetson-xavier", "jetson-nano", "cuda-sm80", "cuda-sm86", "cuda-sm89", "cuda-sm90"}
    assert shipped <= set(names)


@pytest.mark.parametrize("name", [name for name in available()])
def test_every_target_is_complete_and_names_its_sources(name: str) -> None:
    target = load(name)
    assert target.name == name
    assert target.peak_flops["f32"] > 0 and target.caches and target.memory_bandwidth > 0
    assert target.memory_bandwidth <= target.memory_bandwidth_all
    for inner, outer in pairwise(target.caches):
        assert inner.bytes < outer.bytes and inner.bandwidth >= outer.bandwidth
    apart = {"name", "description", "backends", "llvm", "toolchain", "figures", "host", "architectures", "packages"}
    apart |= {key for key in ("memories", "modes") if not getattr(target, key)}
    given = {field.name for field in dataclasses.fields(target)} - apart
    assert given <= set(target.figures), f"{name} does not say where {given - set(target.figures)} come from"


MEMORIES = [
    ("3", "a list of tables, it is 3"),
    ('[{ name = "a", bytes = 1 }]', "a table with the keys name, bytes, bandwidth and, if wanted, read_only"),
    ('[{ name = "a", bytes = 1, bandwidth = 0 }]', "above 0, and not above that of the memory before"),
    (
        '[{ name = "a", bytes = 1, bandwidth = 2 }, { name = "b", bytes = 1, bandwidth = 3 }]',
        "above 0, and not above that of the memory before",
    ),
    ('[{ name = "a", bytes = 1, bandwidth = 2, read_only = 1 }]', "true or false"),
    ('[{ name = "a", bytes = 1, bandwidth = 2, read_only = true }]', "a list with a memory that a run may write"),
]


@pytest.mark.parametrize(("value", "expected"), MEMORIES)
def test_memories_that_make_no_sense(tmp_path: Path, value: str, expected: str) -> None:
    path = write(tmp_path, f'base = "rpi4"\nmemories = {value}\n')
    with pytest.raises(UsageError) as caught:
        load(path)
    assert expected.split(", it is")[0] in str(caught.value) and str(path) in str(caught.value)


def test_memories_are_read() -> None:
    first, *_, last = load("stm32h743i-eval").memories
    assert (first.name, first.bytes, first.read_only) == ("DTCM", 131_072, False)
    assert last.read_only and last.bandwidth < first.bandwidth


def test_what_emits_today() -> None:
    emitting = {name for name in available() if load(name).backends}
    assert {"cpu", "x86-64-v3", "aarch64", "rpi4", "rpi5", "riscv64"} <= emitting


def test_a_tool_that_nobody_knows(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + '[toolchain]\nlinker = "ld"\n')
    with pytest.raises(UsageError) as failure:
        load(path)
    assert str(failure.value) == (
        "'toolchain.linker' of the target must be one of prefix, zig, zig_static, emulator\n"
        f"  at {path}\n"
        "  it is 'linker'"
    )


def test_a_file_extends_another(tmp_path: Path) -> None:
    text = 'base = "rpi4"\ncores = 2\n[peak_flops]\nf32 = 5.0e9\n[figures]\ncores = "counted"\n'
    target = load(write(tmp_path, text))
    base = load("rpi4")
    assert target.name == "box"
    assert target.cores == 2 and target.figures["cores"] == "counted"
    assert target.peak_flops == {**base.peak_flops, "f32": 5.0e9}
    assert target.figures["peak_flops"] == f"given in {tmp_path / 'box.toml'}"
    assert target.figures["caches"] == base.figures["caches"]
    assert target.llvm["mcpu"] == "cortex-a72"


def test_tables_merge_and_lists_replace() -> None:
    base = {"llvm": {"kind": "llvm", "mcpu": "a"}, "caches": [1], "figures": {"caches": "sheet"}}
    merged = inherit({"llvm": {"mcpu": "b"}, "caches": [2, 3]}, base, "here")
    assert merged["llvm"] == {"kind": "llvm", "mcpu": "b"}
    assert merged["caches"] == [2, 3]
    assert merged["figures"] == {"caches": "given in here", "llvm": "given in here"}


@pytest.mark.parametrize(
    ("text", "what", "why"),
    [
        (MINIMAL + "colour = 3\n", "'colour' is not a key of a target file", None),
        ('backends = ["onnx"]\n', "the target file lacks 'description'", None),
        (MINIMAL + 'cores = "four"\n', "'cores' of the target must be an integer that is not negative", "it is 'four'"),
        (MINIMAL + "cores = true\n", "'cores' of the target must be an integer that is not negative", "it is True"),
        (
            MINIMAL + "memory_bandwidth = -1\n",
            "'memory_bandwidth' of the target must be a number that is not negative",
            "it is -1",
        ),
        (MINIMAL + "backends = 3\n", "the target file is not valid TOML", None),
        (MINIMAL + "[[caches]]\nbytes = 3\n", "'caches[1]' of the target must be a table", "it is {'bytes': 3}"),
        (MINIMAL + "[figures]\nspeed = 'x'\n", "'figures.speed' of the target must be the source of a key", None),
        (MINIMAL + "[peak_flops]\nf33 = 1\n", "'peak_flops.f33' of the target must be one of f32, u8", "it is 'f33'"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, what: str, why: str | None) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load(path)
    assert caught.value.what.startswith(what)
    assert caught.value.where == path
    if why:
        assert caught.value.why == why


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the target file cannot be read"):
        load(str(tmp_path / "none.toml"))


GPUS = [name for name in available() if load(name).llvm.get("kind") == "cuda"]


@pytest.mark.parametrize("name", GPUS)
def test_a_gpu_has_a_host_with_processors(name: str) -> None:
    target, host = load(name), host_of(load(name))
    assert host.name == target.host != name and host.llvm["kind"] == "llvm" and host_of(host) is host
    assert str(target.llvm["arch"]) in (target.architectures or (target.llvm["arch"],))


@pytest.mark.parametrize("name", [name for name in available() if load(name).modes])
def test_power_modes_slow_a_device_down(name: str) -> None:
    """The first mode is the target as its file states it; each later one is no faster in anything."""
    full = load(name)
    first, *others = (load(f"{name}@{mode}") for mode in full.modes)
    assert (first.cores, first.peak_flops, first.caches) == (full.cores, full.peak_flops, full.caches)
    assert first.memory_bandwidth_all == pytest.approx(full.memory_bandwidth_all, rel=0.01)
    for mode in others:
        ratio = full.modes[mode.name.split("@")[1]].clock / next(iter(full.modes.values())).clock
        assert ratio < 1 and mode.cores <= full.cores and mode.memory_bandwidth_all <= full.memory_bandwidth_all
        assert mode.peak_flops["f32"] == pytest.approx(ratio * full.peak_flops["f32"])
        assert mode.memory_bandwidth <= mode.memory_bandwidth_all


def test_unknown_modes() -> None:
    with pytest.raises(UsageError) as caught:
        load("jetson-orin@20W")
    assert str(caught.value) == (
        "the target 'jetson-orin' has no power mode '20W'\n  hint: it has: MAXN, 50W, 30W, 15W"
    )
    with pytest.raises(UsageError, match="the target 'rpi4' has no power mode '5W'\n  hint: it has none"):
        load("rpi4@5W")


MODES = [
    ("3", "'modes' of the target must be a table"),
    ("{ low = 3 }", "'modes.low' of the target must be a table with the keys cores, clock, "),
    ("{ low = { cores = 0, clock = 1, memory_bandwidth_all = 1, watts = 1 } }", "above 0"),
]


@pytest.mark.parametrize(("value", "expected"), MODES)
def test_modes_that_make_no_sense(tmp_path: Path, value: str, expected: str) -> None:
    path = write(tmp_path, f'base = "rpi4"\nmodes = {value}\n')
    with pytest.raises(UsageError) as caught:
        load(path)
    assert expected in str(caught.value) and path in str(caught.value)


def test_unknown_names_give_near_ones() -> None:
    with pytest.raises(UsageError) as caught:
        load("jetson-orion")
    assert str(caught.value) == (
        "there is no target 'jetson-orion'\n"
        f"  known: {', '.join(available())}\n"
        "  hint: did you mean 'jetson-orin' or 'jetson-nano'?"
    )


def test_circles_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Path(write(tmp_path, MINIMAL + 'base = "two"\n', "one.toml"))
    two = Path(write(tmp_path, MINIMAL + 'base = "one"\n', "two.toml"))
    monkeypatch.setattr(library, "_files", lambda: {"one": lambda: one, "two": lambda: two})
    with pytest.raises(UsageError) as caught:
        library._tables(one, ("one",))
    assert caught.value.why == "one → two → one"


def board() -> Path:
    return Path(__file__).with_name("board.toml")


def test_entry_points_add_targets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point = EntryPoint("board", f"{__name__}:board", library.ENTRY_POINT_GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: lambda: write(tmp_path, MINIMAL))
    monkeypatch.setattr(library, "entry_points", lambda group: [point])
    library._files.cache_clear()
    try:
        assert "board" in available()
        assert load("board").description == "a box"
        monkeypatch.setattr(library, "entry_points", lambda group: [point, point])
        library._files.cache_clear()
        with pytest.raises(UsageError, match="the target 'board' is defined twice"):
            available()
    finally:
        library._files.cache_clear()
        library._named.cache_clear()

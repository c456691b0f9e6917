"""Devices by name: what is a device, where they are kept, and what is said of those that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.errors import OptcError, UsageError
from optc.runtime.device import registry
from optc.runtime.device.description import Device, check, from_dict, parse_address

PI = Device("pi", "ssh", "10.0.0.2", 2222, "me", "/keys/pi", options=("ProxyJump=gate",), prefix=("taskset", "-c", "0"))
BOARD = Device("board", "rpc", "board.local", 9191, secret="/keys/board")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "optc" / "devices.json"


def test_devices_are_remembered_and_forgotten(file: Path) -> None:
    assert registry.registry_file() == file and registry.listed() == {}
    registry.add(PI)
    registry.add(BOARD)
    assert registry.listed() == {"board": BOARD, "pi": PI}
    assert registry.find("pi") == PI
    assert registry.remove("pi") == PI
    assert registry.listed() == {"board": BOARD}
    assert [path.name for path in file.parent.iterdir()] == ["devices.json"]


def test_without_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registry.registry_file() == tmp_path / ".config" / "optc" / "devices.json"


def test_a_name_that_is_taken(file: Path) -> None:
    registry.add(PI)
    other = Device("pi", "ssh", "10.0.0.3")
    with pytest.raises(UsageError) as failure:
        registry.add(other)
    assert str(failure.value) == (
        "a device is called 'pi' already\n  it is ssh me@10.0.0.2:2222\n  hint: --force replaces it"
    )
    registry.add(other, replace=True)
    assert registry.find("pi") == other


def test_a_name_that_nobody_has(file: Path) -> None:
    with pytest.raises(UsageError) as none:
        registry.find("pi")
    assert str(none.value) == ("no device is called 'pi'\n  hint: add it with: optc device add NAME --ssh user@host")
    registry.add(BOARD)
    with pytest.raises(UsageError) as near:
        registry.remove("bord")
    assert near.value.hint == "did you mean 'board'?"
    with pytest.raises(UsageError) as far:
        registry.find("pi")
    assert far.value.hint == "there are: board"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "it is no list of devices of schema version 1"),
        ('{"schema": 2, "devices": {}}', "it is no list of devices of schema version 1"),
        ('{"schema": 1, "devices": {"pi": 1}}', "an entry is no table"),
        ('{"schema": 1, "devices": {"pi": {"kind": "ssh"}}}', "device 'pi': 'host' is missing"),
        (
            '{"schema": 1, "devices": {"pi": {"kind": "ssh", "host": "a", "x": 1}}}',
            "device 'pi': 'x' is no property of a device",
        ),
        (
            '{"schema": 1, "devices": {"pi": {"kind": "ssh", "host": "a", "prefix": [1]}}}',
            "device 'pi': 'prefix' has a value of the wrong type",
        ),
        (
            '{"schema": 1, "devices": {"pi": {"kind": "fax", "host": "a"}}}',
            "device 'pi': devices of the kind 'fax' are unknown",
        ),
        (
            '{"schema": 1, "devices": {"pi": {"kind": "ssh", "host": "-oProxyCommand=x"}}}',
            "--ssh: '-oProxyCommand=x' is no name or address of a host",
        ),
    ],
)
def test_a_damaged_list(file: Path, content: str, why: str) -> None:
    file.parent.mkdir()
    file.write_text(content)
    with pytest.raises(OptcError) as failure:
        registry.add(PI)
    assert (failure.value.what, failure.value.where) == ("the list of devices is damaged", str(file))
    assert failure.value.why == why and failure.value.hint == "mend the file or remove it"
    assert file.read_text() == content


def test_no_json(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("{")
    with pytest.raises(OptcError, match="the list of devices is damaged"):
        registry.listed()


def test_a_list_that_cannot_be_written(file: Path) -> None:
    file.parent.write_text("a file in the folder's place")
    with pytest.raises(OptcError) as failure:
        registry.add(PI)
    assert failure.value.what in ("the list of devices cannot be read", "the list of devices cannot be written")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host", ("", "host", None)),
        ("me@host", ("me", "host", None)),
        ("me@host:22", ("me", "host", 22)),
        ("[fe80::1%eth0]:22", ("", "fe80::1%eth0", 22)),
        ("me@[::1]", ("me", "::1", None)),
    ],
)
def test_addresses(text: str, expected: tuple[str, str, int | None]) -> None:
    user, host, port = parse_address(text, "--ssh")
    assert (user, host, port) == expected
    check(Device("name", "ssh", host, port, user))


@pytest.mark.parametrize("text", ["", "@host", "host:", "host:x", "::1", "host:123456", "[::1"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(UsageError) as failure:
        parse_address(text, "--rpc")
    assert str(failure.value) == f"'{text}' is no address\n  at --rpc\n  hint: --rpc 10.0.0.2:9191"


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (
            Device("a b", "ssh", "h"),
            "'a b' is no name of a device\n"
            "  a name has up to 64 letters, digits, and . _ -, and starts with a letter or digit",
        ),
        (Device("a", "ssh", "-v"), "'-v' is no name or address of a host\n  at --ssh"),
        (Device("a", "ssh", "h", 70000), "70000 is no port\n  at --ssh\n  ports are 1 to 65535"),
        (Device("a", "ssh", "h", user="-l"), "'-l' is no name of a user\n  at --ssh"),
        (Device("a", "rpc", "h"), "the server's port is missing\n  at --rpc\n  hint: --rpc h:9191"),
        (
            Device("a", "rpc", "h", 1),
            "the secret is missing\n  at --rpc\n  the server runs what it is sent, so it asks for a secret\n"
            "  hint: --secret FILE",
        ),
        (Device("a", "ssh", "h", folder="tmp"), "'tmp' is no folder\n  at --folder\n  an absolute path is needed"),
        (
            Device("a", "ssh", "h", options=("x",)),
            "'x' is no option of ssh\n  at --ssh-option\n  hint: --ssh-option ProxyJump=gate",
        ),
        (Device("a", "ssh", "h", prefix=("",)), "the prefix holds an empty word or a control character\n  at --prefix"),
    ],
)
def test_what_is_no_device(device: Device, message: str) -> None:
    with pytest.raises(UsageError) as failure:
        check(device)
    assert str(failure.value) == message


WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=0x24F, exclude_characters="\x7f"), min_size=1)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(WORDS, max_size=3), WORDS, st.integers(1, 65535))
def test_a_device_is_the_same_as_json(prefix: list[str], key: str, port: int) -> None:
    device = Device("a", "ssh", "h", port, key=key, prefix=tuple(prefix))
    assert from_dict("a", json.loads(json.dumps(device.to_dict()))) == device

"""The devices that the user named, in a file of the user's configuration."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import tempfile
from pathlib import Path

from optc.errors import OptcError, UsageError
from optc.runtime.device.description import Device, check, from_dict

_SCHEMA = 1


def registry_file() -> Path:
    """`$XDG_CONFIG_HOME/optc/devices.json`, else `~/.config/optc/devices.json`. It need not exist."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "optc" / "devices.json"


def listed() -> dict[str, Device]:
    """All devices by name, in order of their names.

    Raises:
        OptcError: the file cannot be read, or holds something else.
    """
    path = registry_file()
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as fault:
        raise OptcError("the list of devices cannot be read", where=str(path), why=fault.strerror) from fault
    except (ValueError, RecursionError) as fault:
        raise _damaged(path, f"not valid JSON: {fault}") from fault
    if not isinstance(record, dict) or record.get("schema") != _SCHEMA or not isinstance(record.get("devices"), dict):
        raise _damaged(path, f"it is no list of devices of schema version {_SCHEMA}")
    devices = record["devices"]
    if not all(isinstance(entry, dict) for entry in devices.values()):
        raise _damaged(path, "an entry is no table")
    try:
        return {name: from_dict(name, devices[name]) for name in sorted(devices)}
    except UsageError as fault:
        raise _damaged(path, f"{fault.where}: {fault.what}" if fault.where else fault.what) from fault


def find(name: str) -> Device:
    """The device of this name.

    Raises:
        UsageError: there is none.
        OptcError: as of `listed`.
    """
    devices = listed()
    if name in devices:
        return devices[name]
    near = difflib.get_close_matches(name, devices, n=1)
    known = f"there are: {', '.join(devices)}" if devices else "add it with: optc device add NAME --ssh user@host"
    raise UsageError(f"no device is called '{name}'", hint=f"did you mean '{near[0]}'?" if near else known)


def add(device: Device, *, replace: bool = False) -> None:
    """Remember a device.

    Raises:
        UsageError: its description is wrong, or one of that name is there and shall not be replaced.
        OptcError: the file cannot be read or written.
    """
    check(device)
    devices = listed()
    if device.name in devices and not replace:
        why = f"it is {devices[device.name].place}"
        raise UsageError(f"a device is called '{device.name}' already", why=why, hint="--force replaces it")
    _write({**devices, device.name: device})


def remove(name: str) -> Device:
    """Forget a device, and return it.

    Raises:
        UsageError: there is none of that name.
        OptcError: the file cannot be read or written.
    """
    device = find(name)
    _write({key: value for key, value in listed().items() if key != name})
    return device


def _write(devices: dict[str, Device]) -> None:
    path = registry_file()
    record = {"schema": _SCHEMA, "devices": {name: devices[name].to_dict() for name in sorted(devices)}}
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".devices.", delete=False) as file:
            temporary = file.name
            file.write(json.dumps(record, indent=1) + "\n")
        os.replace(temporary, path)
    except OSError as fault:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise OptcError("the list of devices cannot be written", where=str(path), why=fault.strerror) from fault


def _damaged(path: Path, why: str) -> OptcError:
    return OptcError("the list of devices is damaged", where=str(path), why=why, hint="mend the file or remove it")

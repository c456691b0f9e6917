"""`optc device`: the devices that optc can run and measure artifacts on."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from optc.cli.output import emit_facts, emit_json, emit_table, seconds_text
from optc.cli.parameters import common
from optc.errors import OptcError, UsageError


@click.group("device")
def command() -> None:
    """Name, check and forget devices on which artifacts are run and measured."""


@command.command("add")
@click.argument("name")
@click.option("--ssh", metavar="[USER@]HOST[:PORT]", help="A device with an ssh server and a POSIX shell.")
@click.option("--rpc", metavar="HOST:PORT", help="A device that runs the program of optc device server.")
@click.option("--key", metavar="FILE", help="Private key for ssh.")
@click.option("--secret", metavar="FILE", help="The secret that the device's server knows too.")
@click.option("--folder", metavar="DIR", help="Where files go there during a measurement (ssh; default: /tmp).")
@click.option(
    "--ssh-option", "options", multiple=True, metavar="KEY=VALUE", help="A further option of ssh; repeatable."
)
@click.option("--prefix", metavar="WORDS", default="", help="Words before the program's there: an emulator, taskset.")
@click.option("--force", is_flag=True, help="Replace a device of that name.")
@common
def add(
    name: str,
    ssh: str | None,
    rpc: str | None,
    key: str | None,
    secret: str | None,
    folder: str | None,
    options: tuple[str, ...],
    prefix: str,
    force: bool,
    as_json: bool,
) -> None:
    """Remember how the device NAME is reached; nothing connects to it yet."""
    from optc.runtime.device import registry
    from optc.runtime.device.description import DEFAULT_FOLDER, RPC, SSH, Device, check, parse_address
    from optc.runtime.device.rpc import read_secret

    if (ssh is None) == (rpc is None):
        raise UsageError("one of --ssh and --rpc is needed", hint=f"optc device add {name} --ssh user@host")
    kind, option, address = (SSH, "--ssh", ssh) if ssh is not None else (RPC, "--rpc", rpc)
    user, host, port = parse_address(address or "", option)
    foreign = {"--key": key, "--folder": folder, "--ssh-option": options} if kind == RPC else {"--secret": secret}
    if wrong := next((each for each, value in foreign.items() if value), None):
        raise UsageError(f"{wrong} does not go with {option}")
    if user and kind == RPC:
        raise UsageError(f"'{address}' is no address", where=option, why="the server knows no users")
    try:
        words = tuple(shlex.split(prefix))
    except ValueError as fault:
        raise UsageError(f"'{prefix}' is no command", where="--prefix", why=str(fault)) from fault
    absolute = {
        what: os.path.abspath(os.path.expanduser(file)) for what, file in (("key", key), ("secret", secret)) if file
    }
    if "key" in absolute and not os.path.isfile(absolute["key"]):
        raise OptcError("the key does not exist", where=absolute["key"])
    device = check(
        Device(name, kind, host, port, user, folder=folder or DEFAULT_FOLDER, options=options, prefix=words, **absolute)
    )
    if device.secret:
        read_secret(Path(device.secret))
    registry.add(device, replace=force)
    if as_json:
        emit_json({"name": name, **device.to_dict()})
    else:
        click.echo(f"{name} is {device.place}; optc device check {name} connects to it")


@command.command("list")
@common
def list_(as_json: bool) -> None:
    """List the devices."""
    from optc.runtime.device import registry

    devices = registry.listed()
    if as_json:
        emit_json(
            {"file": str(registry.registry_file()), "devices": {n: each.to_dict() for n, each in devices.items()}}
        )
    elif devices:
        rows = [[each.name, each.place, shlex.join(each.prefix)] for each in devices.values()]
        emit_table(["device", "reached by", "prefix"], rows)
    else:
        click.echo("no devices; add one with: optc device add NAME --ssh user@host")


@command.command("check")
@click.argument("name")
@common
def check_(name: str, as_json: bool) -> None:
    """Connect to the device NAME, write a file there and read it again."""
    import time

    from optc.runtime.device import registry
    from optc.runtime.device.session import open_session

    device = registry.find(name)
    start = time.perf_counter()
    session = open_session(device)
    try:
        connected = time.perf_counter()
        content = os.urandom(1 << 16)
        session.put("check", content)
        same = session.get("check") == content
        done = session.run(["uname", "-r"], 20.0)
        taken = time.perf_counter() - connected
        facts = session.facts
    finally:
        session.close()
    if not same or done.code != 0:
        why = "a file came back changed" if not same else done.errors.strip() or f"exit code {done.code}"
        raise OptcError(f"the device '{name}' does not work", where=device.place, why=why)
    if as_json:
        plain = {"system": facts.system, "release": done.output.strip(), "machine": facts.machine, "cpus": facts.cpus}
        emit_json({"name": name, "place": device.place, **plain, "connect_seconds": connected - start})
        return
    emit_facts(
        [
            ("device", f"{name} ({device.place})"),
            ("system", f"{facts.system} {done.output.strip()} on {facts.machine}, {facts.cpus} CPUs"),
            ("connects in", seconds_text(connected - start)),
            ("a file, there and back", seconds_text(taken)),
        ]
    )


@command.command("remove")
@click.argument("name")
@common
def remove(name: str, as_json: bool) -> None:
    """Forget the device NAME."""
    from optc.runtime.device import registry

    device = registry.remove(name)
    if as_json:
        emit_json({"removed": name})
    else:
        click.echo(f"{name} ({device.place}) removed")


@command.command("server")
@click.option("--target", default="cpu", show_default=True, help="What the device is, as for optc compile.")
@click.option("-o", "--output", type=click.Path(), default="optc-device-server", show_default=True, help="The program.")
@common
def server(target: str, output: str, as_json: bool) -> None:
    """Write the program by which a device serves --rpc: static, for Linux; copy it there and start it."""
    from optc.cli.files import write_whole
    from optc.driver.device import server_program

    content = server_program(target)
    path = Path(output)
    write_whole(path, content, "the program")
    path.chmod(0o755)
    if as_json:
        emit_json({"file": output, "bytes": len(content), "target": target})
    else:
        click.echo(f"{output} written; on the device: ./{path.name} 0.0.0.0 9191 /tmp SECRET_FILE")

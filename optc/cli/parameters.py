"""The option types and the options that commands share."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from optc.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])


class ShapeType(click.ParamType):
    """`x=1,3,48,192` as ("x", (1, 3, 48, 192))."""

    name = "NAME=DIMS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        name, separator, dims = value.rpartition("=")
        parts = re.split(r"[,x]", dims) if dims else []
        if not separator or not name or not all(part.strip().isdecimal() for part in parts):
            hint = f"--shape {name or 'x'}=1,3,224,224"
            raise UsageError(f"'{value}' is no shape", where="--shape", why="dimensions are whole numbers", hint=hint)
        return name, tuple(int(part) for part in parts)


class DimType(click.ParamType):
    """`batch=1` as ("batch", 1)."""

    name = "NAME=SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        name, separator, size = value.rpartition("=")
        if not separator or not name or not size.strip().isdecimal():
            raise UsageError(f"'{value}' binds no dimension", where="--dim", hint="--dim batch=1")
        return name, int(size)


class Number(click.FloatRange):
    """A finite number, within bounds where there are some."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number.", param, ctx)
        return number


def unique(pairs: tuple[tuple[str, Any], ...], option: str) -> dict[str, Any]:
    """The pairs of a repeatable option as a dict. Raises UsageError when a name is given twice."""
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise UsageError(f"{option} gives '{name}' twice")
        result[name] = value
    return result


def common(function: Command) -> Command:
    """--json and -v, which every command takes; `verbose` is acted on before the command runs."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output, nothing else.")
    @click.option("-v", "--verbose", is_flag=True, expose_value=False, help="Trace what happens on standard error.")
    @functools.wraps(function)
    def wrapped(*args: Any, **keywords: Any) -> Any:
        return function(*args, **keywords)

    return wrapped  # type: ignore[return-value]


shape_option = click.option(
    "--shape", "shapes", type=ShapeType(), multiple=True, help="All dimensions of an input; repeatable."
)
dim_option = click.option(
    "--dim", "dims", type=DimType(), multiple=True, help="The size of a symbolic dimension; repeatable."
)
threads_option = click.option("--threads", type=click.IntRange(min=1), help="Threads of a run (default: all cores).")


def numbers(text: str | None, option: str, default: float) -> tuple[float, ...]:
    """`0.5,0.4` as (0.5, 0.4); the default where nothing is given.

    Raises:
        UsageError: it is something else.
    """
    if text is None:
        return (default,)
    try:
        found = tuple(float(item) for item in text.split(","))
    except ValueError:
        found = (math.nan,)
    if not all(map(math.isfinite, found)):
        raise UsageError(f"'{text}' is no list of numbers", where=option, hint=f"{option} 0.5,0.5,0.5")
    return found


def share(text: str) -> float:
    """`0.5%` or `0.005` of `--max-drop` as 0.005.

    Raises:
        UsageError: it is neither, or not between 0 and 1.
    """
    try:
        found = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        found = math.nan
    if not 0.0 <= found <= 1.0:
        raise UsageError(f"'{text}' is no share", where="--max-drop", hint="--max-drop 0.5%")
    return found

"""The options of a pass: its dataclass fields, with their type, default and text form."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal

from optc.ir.literals import quote
from optc.passes.base import Pass

_BARE = re.compile(r"[A-Za-z0-9_.+/:*-]+")


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: as in a pipeline (`max-ops`).
        field: as in Python (`max_ops`).
        type: the annotation, resolved.
        default: its value when left out; `dataclasses.MISSING` when it must be given.
        help: what the docstring of the pass says of it.
    """

    name: str
    field: str
    type: Any
    default: Any
    help: str

    def __str__(self) -> str:
        default = "" if self.default is dataclasses.MISSING else f" = {value_text(self.default)}"
        return f"{self.name}: {type_text(self.type)}{default}"


def options_of(kind: type[Pass]) -> list[Option]:
    """The options of a pass class, in the order of definition."""
    hints = typing.get_type_hints(kind)
    return [
        Option(field.name.replace("_", "-"), field.name, hints[field.name], _default(field), _help(kind, field.name))
        for field in dataclasses.fields(kind)
        if field.init
    ]


def _default(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _help(kind: type[Pass], name: str) -> str:
    """The text behind `name:` in the class docstring, joined over its continuation lines."""
    match = re.search(rf"^[ ]*{name}: (.*(?:\n[ ]{{12,}}\S.*)*)", kind.__doc__ or "", re.MULTILINE)
    return re.sub(r"\s+", " ", match.group(1)) if match else ""


def _union(type: Any) -> tuple[Any, ...]:
    is_union = isinstance(type, types.UnionType) or typing.get_origin(type) is typing.Union
    return typing.get_args(type) if is_union else (type,)


def type_text(type: Any) -> str:
    """How a type is called in help and errors: `int`, `list of str`, `one of a, b`."""
    choices = [item for item in _union(type) if item is not types.NoneType]
    if len(choices) > 1 or len(choices) < len(_union(type)):
        return " or ".join([*map(type_text, choices), *(["none"] if types.NoneType in _union(type) else [])])
    if typing.get_origin(type) is tuple:
        return f"list of {type_text(typing.get_args(type)[0])}"
    if typing.get_origin(type) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(type)))
    return getattr(type, "__name__", str(type))


def value_text(value: Any) -> str:
    """A value as it stands in a pipeline."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{','.join(map(value_text, value))}]"
    if isinstance(value, str):
        bare = _BARE.fullmatch(value) and value not in ("none", "true", "false")
        return value if bare else quote(value)
    return repr(value)


def convert(value: Any, type: Any) -> Any:
    """A value as the pipeline's scanner read it (words as `str`, lists as `tuple`, quoted text as `Quoted`), typed.

    Raises:
        ValueError: it does not fit `type`.
    """
    for choice in _union(type):
        try:
            return _convert(value, choice)
        except ValueError:
            continue
    raise ValueError(f"expected {type_text(type)}")


def _convert(value: Any, type: Any) -> Any:
    if typing.get_origin(type) is tuple:
        if not isinstance(value, tuple):
            raise ValueError
        return tuple(convert(item, typing.get_args(type)[0]) for item in value)
    if isinstance(value, tuple):
        raise ValueError
    if typing.get_origin(type) is Literal:
        for choice in typing.get_args(type):
            if str(value) == str(choice):
                return choice
        raise ValueError
    if type is str:
        return str(value)
    if isinstance(value, Quoted):
        raise ValueError
    if type is types.NoneType or type is bool:
        words = {"none": None} if type is types.NoneType else {"true": True, "false": False}
        if value not in words:
            raise ValueError
        return words[value]
    if type in (int, float):
        return type(value)
    raise TypeError(f"an option cannot be a {type_text(type)}")


class Quoted(str):
    """A word that stood in quotes, and so is never a number, a bool or none."""

    __slots__ = ()

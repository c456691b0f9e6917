"""Pipelines as text: `fold,fuse{max-ops=8, rules=[a,b]},cse` ⇄ a list of passes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from optc.errors import UsageError
from optc.ir.literals import unquote
from optc.ir.source import Source, near
from optc.passes import registry
from optc.passes.base import Pass
from optc.passes.options import Option, Quoted, convert, options_of, value_text

_TOKEN = re.compile(r"""\s*(?:([A-Za-z0-9_.+/:*-]+)|("(?:\\.|[^"\\\n])*")|([,{}=\[\]]))""")


def parse_pipeline(text: str, file: str = "--passes") -> list[Pass]:
    """The passes that `text` names, with their options.

    Options stand in braces, separated by commas or spaces; a bool option alone means true; lists stand in brackets.

    Raises:
        UsageError: a syntax error, an unknown pass or option, or a value of the wrong type, with a caret.
    """
    return _Reader(Source(text, file)).pipeline()


def print_pipeline(passes: Sequence[Pass]) -> str:
    """The text that parses to equal passes; options that have their default value are left out."""
    return ",".join(map(print_pass, passes))


def print_pass(item: Pass) -> str:
    """One pass with its options, for instance `fuse{max-ops=8}`."""
    options = [
        f"{option.name}={value_text(getattr(item, option.field))}"
        for option in options_of(type(item))
        if getattr(item, option.field) != option.default
    ]
    return f"{item.name}{{{','.join(options)}}}" if options else item.name


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.tokens: list[tuple[str, int]] = []
        text, position = source.text, 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                position += len(text[position:]) - len(text[position:].lstrip())
                raise self.fail(f"'{text[position]}' has no place in a pipeline", (text[position], position))
            token = match.group().strip()
            self.tokens.append((token, match.end() - len(token)))
            position = match.end()
        self.tokens.append(("", len(text)))
        self.position = 0

    def fail(self, what: str, token: tuple[str, int], *, why: str | None = None, hint: str | None = None) -> Exception:
        before = self.source.text[: token[1]]
        line, column = before.count("\n") + 1, token[1] - (before.rfind("\n") + 1) + 1
        length = max(1, len(token[0]))
        return self.source.error(what, line, column, length, why=why, hint=hint, kind=UsageError)

    @property
    def here(self) -> tuple[str, int]:
        return self.tokens[self.position]

    def accept(self, *choices: str) -> bool:
        if self.here[0] in choices:
            self.position += 1
            return True
        return False

    def expect(self, *choices: str) -> None:
        if not self.accept(*choices):
            raise self.unexpected(" or ".join(f"'{choice}'" for choice in choices))

    def unexpected(self, expected: str) -> Exception:
        what = f"'{self.here[0]}' has no place here" if self.here[0] else "the pipeline ends too early"
        return self.fail(what, self.here, why=f"expected {expected}")

    def word(self, expected: str) -> tuple[str, int]:
        token = self.here
        if not token[0] or token[0] in ",{}=[]" or token[0][0] == '"':
            raise self.unexpected(expected)
        self.position += 1
        return token

    def pipeline(self) -> list[Pass]:
        if not self.here[0]:
            return []
        passes = [self.one_pass()]
        while self.accept(","):
            passes.append(self.one_pass())
        if self.here[0]:
            raise self.unexpected("',' or '{'")
        return passes

    def one_pass(self) -> Pass:
        name = self.word("a pass")
        known = registry.available()
        if name[0] not in known:
            hint = near(name[0], known) or "`optc passes` lists them"
            raise self.fail(f"no pass is called '{name[0]}'", name, hint=hint)
        kind = registry.get(name[0])
        options = {option.name: option for option in options_of(kind)}
        given: dict[str, Any] = {}
        brace = self.here
        if self.accept("{"):
            while not self.accept("}"):
                self.option(name[0], options, given)
                if not self.accept(",") and not self.here[0]:
                    raise self.fail("this '{' is never closed", brace, why="expected '}'")
        missing = [o for o in options.values() if o.default is dataclasses.MISSING and o.field not in given]
        if missing:
            what = f"{name[0]} needs {', '.join(option.name for option in missing)}"
            raise self.fail(what, name, why=_listing(name[0], options))
        try:
            return kind(**given)
        except ValueError as error:
            raise self.fail(f"{name[0]} refuses its options", name, why=str(error)) from None

    def option(self, owner: str, options: dict[str, Option], given: dict[str, Any]) -> None:
        name = self.word("an option" if options else "'}'")
        option = options.get(name[0])
        if option is None:
            why = _listing(owner, options)
            raise self.fail(f"{owner} has no option '{name[0]}'", name, why=why, hint=near(name[0], options))
        if option.field in given:
            raise self.fail(f"the option '{name[0]}' is given twice", name)
        if not self.accept("="):
            given[option.field] = self.converted("true", option, name)
            return
        start = self.here
        value = self.value()
        last = self.tokens[self.position - 1]
        whole = self.source.text[start[1] : last[1] + len(last[0])]
        given[option.field] = self.converted(value, option, (whole, start[1]))

    def converted(self, value: Any, option: Option, token: tuple[str, int]) -> Any:
        try:
            return convert(value, option.type)
        except ValueError as error:
            raise self.fail(f"'{token[0]}' does not fit {option.name}", token, why=str(error)) from None

    def value(self) -> Any:
        if self.accept("["):
            items: list[Any] = []
            while not self.accept("]"):
                items.append(self.value())
                if not self.accept(",") and self.here[0] != "]":
                    raise self.unexpected("',' or ']'")
            return tuple(items)
        if self.here[0].startswith('"'):
            token = self.here
            self.position += 1
            try:
                return Quoted(unquote(token[0]))
            except ValueError:
                raise self.fail("the string holds a bad escape", token) from None
        return self.word("a value")[0]


def _listing(owner: str, options: dict[str, Option]) -> str:
    if not options:
        return f"{owner} has no options"
    return f"options of {owner}: {'; '.join(map(str, options.values()))}"

"""`optc cache`: what is kept between compiles, how large it is, and how to make it smaller."""

from __future__ import annotations

from collections import Counter

import click

from optc.cli.output import emit_facts, emit_json, emit_table, size_text
from optc.cli.parameters import common
from optc.errors import UsageError


@click.group("cache")
def command() -> None:
    """Show and trim what is kept between compiles; everything in it can be made again."""


@command.command("info")
@common
def info(as_json: bool) -> None:
    """Show where the cache lies, how large it is and may be, and what it holds."""
    from optc.cache import cache_folder, eviction

    found = eviction.listed()
    counts, sizes = Counter[str](), Counter[str]()
    for entry in found:
        counts[entry.kind] += 1
        sizes[entry.kind] += entry.bytes
    limit = eviction.limit()
    if as_json:
        kinds = {kind: {"entries": counts[kind], "bytes": sizes[kind]} for kind in sorted(counts)}
        total = sum(sizes.values())
        emit_json({"folder": str(cache_folder()), "bytes": total, "limit": limit or None, "kinds": kinds})
        return
    emit_facts(
        [
            ("folder", str(cache_folder())),
            ("size", size_text(sum(sizes.values()))),
            ("limit", (size_text(limit) if limit else "none") + f" (environment variable {eviction.LIMIT_VARIABLE})"),
        ]
    )
    if counts:
        click.echo()
        rows = [[kind, str(counts[kind]), size_text(sizes[kind])] for kind in sorted(counts)]
        emit_table(["kind", "entries", "size"], rows, right=(1, 2))


@command.command("clear")
@click.argument("kinds", nargs=-1)
@common
def clear(kinds: tuple[str, ...], as_json: bool) -> None:
    """Remove everything, or only entries of KINDS, as optc cache info names them."""
    from optc.cache import eviction

    known = sorted({entry.kind for entry in eviction.listed()})
    for kind in kinds:
        if kind not in known:
            hint = f"there are: {', '.join(known)}" if known else "the cache is empty"
            raise UsageError(f"the cache holds nothing of the kind '{kind}'", hint=hint)
    _report(eviction.clear(list(kinds) or None), as_json)


@command.command("prune")
@click.option("--max-size", metavar="SIZE", help="What may be left: 500M, 2G (default: the limit).")
@common
def prune(max_size: str | None, as_json: bool) -> None:
    """Remove what was used longest ago, and what killed processes left; measurements go last."""
    from optc.cache import eviction
    from optc.sizes import parse_size

    most = parse_size(max_size, where="--max-size")
    if most is None:
        most = eviction.limit() or sum(entry.bytes for entry in eviction.listed())
    _report(eviction.prune(most), as_json)


def _report(freed: object, as_json: bool) -> None:
    from optc.cache.eviction import Freed

    assert isinstance(freed, Freed)
    if as_json:
        emit_json({"removed": freed.entries, "bytes": freed.bytes, "left_bytes": freed.left})
    else:
        plural = "entry" if freed.entries == 1 else "entries"
        click.echo(f"{freed.entries} {plural} of {size_text(freed.bytes)} removed, {size_text(freed.left)} left")

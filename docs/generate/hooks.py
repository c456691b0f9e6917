"""What the site gets besides the pages in docs/: reference pages made of the code, and the benchmarks' results."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

from generate import reference  # noqa: E402  (this folder is no installed package)

GENERATED = "Reference", "Targets", "Benchmarks"
"""Parts of the navigation whose pages are made here."""

_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")


def _pages() -> dict[str, dict[str, str]]:
    """By part of the navigation: path → Markdown."""
    results = {
        f"benchmarks/{path.stem.lower()}.md": path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "benchmarks").glob("*.md"))
    }
    return {
        "Reference": {
            "reference/commands.md": reference.commands(),
            "reference/operations.md": reference.operations(),
            "reference/passes.md": reference.passes(),
        },
        "Targets": reference.targets(),
        "Benchmarks": results,
    }


PAGES = _pages()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages into the navigation, and pages that it does not name under "More"."""
    nav: list[Any] = config.nav or []
    for part in nav:
        for name, pages in part.items():
            if name in GENERATED and isinstance(pages, list):
                pages += [path for path in PAGES[name] if path not in pages]
    named = set(_paths(nav))
    rest = [path.name for path in sorted(Path(config.docs_dir).glob("*.md")) if path.name not in named]
    if rest:
        nav.append({"More": rest})
    config.nav = nav
    return config


def _paths(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [path for part in parts for path in _paths(part)]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for pages in PAGES.values():
        for path, text in pages.items():
            files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links out of docs/ into links inside the site, or into plain text where the site lacks what they name."""
    here = Path(page.file.src_uri).parent
    source = Path("benchmarks") if page.file.src_uri.startswith("benchmarks/") else Path("docs") / here

    def inside(match: re.Match[str]) -> str:
        text, target = match.groups()
        if target.startswith(("http", "#", "mailto:")):
            return match.group(0)
        place, _, anchor = target.partition("#")
        path = _normal(source / place)
        inner = f"benchmarks/{path.stem.lower()}.md" if path.parts[0] == "benchmarks" else "/".join(path.parts[1:])
        found = path.parts[0] in ("docs", "benchmarks") and files.get_file_from_path(inner)
        if not found:
            return text if text.startswith("`") else f"`{text}`" if "/" in text else text
        up = "../" * len(here.parts)
        return f"[{text}]({up}{inner}{'#' + anchor if anchor else ''})"

    return _LINK.sub(inside, markdown)


def _normal(path: Path) -> Path:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts[-1:] = []
        elif part != ".":
            parts.append(part)
    return Path(*parts) if parts else Path("README.md")

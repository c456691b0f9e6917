"""The sample page: a model compiled for WebAssembly classifies a picture in a headless browser."""

from __future__ import annotations

import functools
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from optc import driver, targets
from optc.errors import OptcError
from optc.targets.foreign import compiler_for

SAMPLES = Path(__file__).parents[2] / "samples"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


# The page tells the server what it shows, since no browser says when a page is done.
REPORT = b"""<script>
  const place = document.getElementById("class");
  new MutationObserver(() => fetch("shown?" + encodeURIComponent(place.textContent))).observe(place, {childList: true});
</script></html>"""


class Site(ThreadingHTTPServer):
    """A folder as a web site, and what the pages that it served show."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.folder = folder
        self.shown: queue.Queue[str] = queue.Queue()


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        name, _, text = self.path.removeprefix("/").partition("?")
        assert isinstance(self.server, Site)
        if name == "shown":
            self.server.shown.put(unquote(text))
            self.send_response(204)
            self.end_headers()
        elif name == "index.html":
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            page = (self.server.folder / name).read_bytes()
            self.wfile.write(page.replace(b"</html>", REPORT))
        else:
            super().do_GET()

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        return "text/javascript" if str(path).endswith(".mjs") else super().guess_type(path)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page as the samples' README says to make it."""
    if BROWSER is None:
        pytest.skip("no chromium")
    try:
        compiler_for(targets.load("wasm"))
    except OptcError as error:
        pytest.skip(error.what)
    folder = tmp_path_factory.mktemp("site") / "page"
    driver.compile(SAMPLES / "models" / "cifar10_resnet8.onnx", target="wasm", dims={"batch": 1}, output=folder)
    for file in (SAMPLES / "web" / "index.html", SAMPLES / "web" / "picture.png", SAMPLES / "models" / "classes.txt"):
        shutil.copy(file, folder)
    with Site(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def shown(site: Site, profile: Path) -> str:
    """What the page shows in a browser, once it shows anything new."""
    address = f"http://127.0.0.1:{site.server_port}/index.html"
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
    command = [str(BROWSER), *flags, "--remote-debugging-port=0", address]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            return site.shown.get(timeout=120)
        finally:
            browser.terminate()


def test_the_page_names_what_is_in_the_picture(site: Site, tmp_path: Path) -> None:
    assert shown(site, tmp_path) == "ship"


def test_the_page_says_what_is_missing(site: Site, tmp_path: Path) -> None:
    (site.folder / "weights.bin").rename(site.folder / "elsewhere")
    try:
        assert shown(site, tmp_path) == "error: weights.bin: 404"
    finally:
        (site.folder / "elsewhere").rename(site.folder / "weights.bin")


def test_the_library_and_its_loader_are_small(site: Site) -> None:
    assert (site.folder / "model.mjs").stat().st_size <= 5 * 1024
    assert (site.folder / "model.wasm").read_bytes()[:4] == b"\0asm"

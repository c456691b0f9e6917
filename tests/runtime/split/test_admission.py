"""Who may talk to a server, and what becomes of those who may not: nothing is parsed, computed or kept for them."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from split_kit import SECRET, InThread, expected, values

from benchmarks.bad_proxy import BadProxy
from optc.errors import OptcError, UsageError
from optc.runtime.split import Client, Fixed, Limits, Server, State, Timing, handshake
from optc.runtime.split.frames import Kind, Reader, Seals, pack
from optc.runtime.split.messages import Request, pack_text, parse_ready, parse_text
from optc.runtime.split.tensors import CodedTensor
from optc.runtime.split.tls import client_context, server_context

FAST = Timing(connect=1.0, backoff=0.01, backoff_most=0.1, ping=0.05, dead=0.3)


class Peer:
    """A bare socket that speaks the protocol as far as a test wants."""

    def __init__(self, address: str, identity: str, secret: bytes = SECRET) -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=5)
        self.identity = bytes.fromhex(identity)
        self.secret = secret
        self.reader = Reader(Seals(), 1 << 20)
        self.seals = Seals()
        self.sent: list[bytes] = []

    def send(self, kind: Kind, payload: bytes = b"", request: int = 0, model: bytes | None = None) -> None:
        model = self.identity[:8] if model is None else model
        self.sent.append(b"".join(pack(self.seals, kind, request, model, [payload])))
        self.socket.sendall(self.sent[-1])

    def receive(self) -> tuple[Kind, int, bytes] | None:
        """The next frame; None when the server has closed."""
        while True:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                return None
            if not data:
                return None
            if frames := self.reader.feed(data):
                header, payload = frames[0]
                return header.kind, header.request, payload

    def greet(self) -> tuple[Kind, int, bytes] | None:
        nonce = handshake.nonce()
        self.send(Kind.HELLO, nonce)
        challenge = self.receive()
        assert challenge is not None and challenge[0] is Kind.CHALLENGE
        server_nonce = challenge[2][:32]
        proof = self.identity + handshake._mac(self.secret, b"client", nonce, server_nonce, self.identity)
        keys = handshake._keys(self.secret, nonce, server_nonce)
        self.send(Kind.PROOF, proof)
        self.seals = Seals(keys.to_server)
        self.reader = Reader(Seals(keys.to_client), 1 << 20)
        return self.receive()

    def request(self, number: int = 1, entry: int = 2) -> None:
        x = values(0)["x"]
        payload = Request(entry, 5000, [CodedTensor("float32", x.shape, x.tobytes())]).pack()
        self.send(Kind.REQUEST, b"".join(map(bytes, payload)), number)


@pytest.fixture
def peer(server: InThread) -> Peer:
    return Peer(server.address, server.server.record.identity)


def test_who_knows_the_secret_is_answered(server: InThread, peer: Peer) -> None:
    ready = peer.greet()
    assert ready is not None and ready[0] is Kind.READY
    assert parse_ready(ready[2]).tensor_bytes == 4000
    peer.request()
    reply = peer.receive()
    assert reply is not None and reply[:2] == (Kind.REPLY, 1)
    assert np.array_equal(np.frombuffer(reply[2][-4000:], np.float32), -values(0)["x"])


def test_a_wrong_secret_gets_nothing(split: Path, server: InThread) -> None:
    peer = Peer(server.address, server.server.record.identity, b"another secret of the same length")
    assert peer.greet() is None
    with Client(split, server.address, secret=b"x" * 16, timing=FAST) as device:
        assert not device.connect()
        assert device.state is State.REFUSED
        assert str(device.refusal) == (
            "the server does not know the secret\n  hint: give both sides the same file with --secret-file"
        )
    assert server.server.totals.answered == 0


@pytest.mark.parametrize("kind", [Kind.REQUEST, Kind.PING, Kind.PROOF, Kind.READY, Kind.REPLY, Kind.GOODBYE])
def test_nothing_is_done_before_the_handshake(server: InThread, peer: Peer, kind: Kind) -> None:
    if kind is Kind.REQUEST:
        peer.send(Kind.REQUEST, bytes(100), 1)
    else:
        peer.send(kind)
    answer = peer.receive()
    assert answer is not None and answer[0] is Kind.ERROR
    assert parse_text(answer[2]) == "the handshake begins with something else"
    assert peer.receive() is None
    assert server.server.totals == type(server.server.totals)()


def test_a_proof_cannot_be_used_twice(server: InThread) -> None:
    """What a witness has recorded opens no second connection."""
    first = Peer(server.address, server.server.record.identity)
    assert first.greet()
    first.request()
    assert first.receive()
    hello, proof, _ = first.sent
    again = Peer(server.address, server.server.record.identity)
    again.socket.sendall(hello)
    challenge = again.receive()
    assert challenge is not None and challenge[0] is Kind.CHALLENGE
    again.socket.sendall(proof)
    assert again.receive() is None
    assert server.server.totals.answered == 1


def hello(nonce: bytes, key: bytes = b"") -> bytes:
    return b"".join(pack(Seals(key), Kind.HELLO, 0, bytes(8), [nonce]))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n", "the peer does not speak the protocol of split models"),
        (hello(bytes(4000)), "a frame announces 4000 bytes, and at most 2048 are taken"),
        (
            hello(bytes(32), b"some key"),
            "the seal of a frame does not match: it was damaged or comes from somebody else",
        ),
    ],
)
def test_strangers_are_told_why(server: InThread, peer: Peer, content: bytes, text: str) -> None:
    peer.socket.sendall(content)
    answer = peer.receive()
    assert answer is not None and (answer[0], parse_text(answer[2])) == (Kind.ERROR, text)
    assert peer.receive() is None


def test_whoever_says_nothing_is_let_go(split: Path) -> None:
    with InThread(Server(split, secret=SECRET, limits=Limits(workers=1, handshake=0.1, idle=0.2))) as server:
        silent = Peer(server.address, server.server.record.identity)
        assert silent.receive() is None
        idle = Peer(server.address, server.server.record.identity)
        assert idle.greet()
        assert idle.receive() is None


def test_connections_are_limited(split: Path) -> None:
    with InThread(Server(split, secret=SECRET, limits=Limits(workers=1, connections=2))) as server:
        peers = [Peer(server.address, server.server.record.identity) for _ in range(2)]
        assert all(peer.greet() for peer in peers)
        assert Peer(server.address, server.server.record.identity).receive() is None
        peers[0].socket.close()
        time.sleep(0.1)
        assert Peer(server.address, server.server.record.identity).greet()


def test_bad_requests_are_answered_with_the_reason(server: InThread, peer: Peer) -> None:
    assert peer.greet()
    tensor = CodedTensor("float32", (1000,), bytes(4000))
    cases = {
        "way 0 needs no server": Request(0, 100, [tensor]),
        "way 77 needs no server": Request(77, 100, [tensor]),
        "0 tensors were sent, and 1 are due": Request(2, 100, []),
        "'h' is float32 1000, not float32 999": Request(2, 100, [CodedTensor("float32", (999,), bytes(3996))]),
        "'h' is float32 1000, not int32 1000": Request(2, 100, [CodedTensor("int32", (1000,), bytes(4000))]),
        "the tensors of a frame take more than 4000 bytes": Request(2, 100, [tensor, tensor]),
        "'h' cannot be decoded: 3 bytes are no value of 4000": Request(2, 9, [CodedTensor("float32", (1000,), b"abc")]),
    }
    for number, (text, request) in enumerate(cases.items(), 1):
        peer.send(Kind.REQUEST, b"".join(map(bytes, request.pack())), number)
        answer = peer.receive()
        assert answer is not None
        assert (answer[0], answer[1], parse_text(answer[2])) == (Kind.ERROR, number, text)
    peer.request(99)
    reply = peer.receive()
    assert reply is not None and reply[:2] == (Kind.REPLY, 99)


def test_a_frame_of_another_model_is_refused(server: InThread, peer: Peer) -> None:
    assert peer.greet()
    peer.send(Kind.REQUEST, b"".join(map(bytes, Request(2, 100, []).pack())), 5, model=b"another!")
    answer = peer.receive()
    assert answer is not None and answer[:2] == (Kind.ERROR, 5)
    assert parse_text(answer[2]) == "the frame belongs to another split model"


def test_too_long_a_frame_ends_the_connection_before_it_is_read(server: InThread, peer: Peer) -> None:
    ready = peer.greet()
    assert ready is not None
    most = parse_ready(ready[2]).frame_bytes
    assert most < 10_000
    peer.send(Kind.PING, bytes(most + 1))
    answer = peer.receive()
    assert answer is not None and answer[0] is Kind.ERROR
    assert parse_text(answer[2]) == f"a frame announces {most + 1} bytes, and at most {most} are taken"
    assert peer.receive() is None


def test_damage_on_the_way_is_survived(split: Path, server: InThread) -> None:
    """Flipped bits, holes and connections that end inside of frames: answers stay right."""
    host, port = server.server.address
    proxy = BadProxy(host, port, flip=0.03, cut=0.02, skip=0.01)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        listening = asyncio.run_coroutine_threadsafe(proxy.start("127.0.0.1", 0), loop).result(5)
        with Client(
            split, f"127.0.0.1:{listening}", secret=SECRET, chooser=Fixed("cut0"), timeout=0.3, timing=FAST
        ) as device:
            device.connect()
            remote = 0
            for seed in range(60):
                answer = device.run(values(seed))
                assert np.array_equal(answer.outputs["y"], expected(values(seed)["x"]))
                remote += answer.report.remote
                end = time.monotonic() + 1.0
                while device.state is not State.UP and time.monotonic() < end:
                    time.sleep(0.005)
        assert 20 < remote < 60
        assert proxy.done["flip"] and proxy.done["cut"] and proxy.done["skip"]
    finally:
        asyncio.run_coroutine_threadsafe(_end(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_server_for_everybody_does_not_start(split: Path) -> None:
    with pytest.raises(UsageError) as caught:
        Server(split)
    assert str(caught.value) == (
        "the server would compute for everybody\n  hint: give --secret-file, or --cert, --key and --client-ca"
    )


def test_secrets_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"  0123456789abcdef\n")
    assert handshake.read_secret(path) == b"0123456789abcdef"
    path.write_bytes(b"short\n")
    with pytest.raises(OptcError) as caught:
        handshake.read_secret(path)
    assert str(caught.value) == (
        f"the secret has a wrong length\n  at {path}\n  it has 5 bytes, and 16 to 4096 are needed\n"
        f"  hint: openssl rand -hex 32 > {path}"
    )
    with pytest.raises(OptcError, match="the secret cannot be read"):
        handshake.read_secret(tmp_path / "none")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and certificates that it signed for a server on 127.0.0.1 and for a device; and a stranger's."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    for authority in ("ca", "stranger"):
        files = ("-keyout", f"{authority}.key", "-out", f"{authority}.pem")
        _openssl(folder, "req", "-x509", *_KEY, *files, "-subj", f"/CN={authority}")
    for name, authority in (("server", "ca"), ("device", "ca"), ("other", "stranger")):
        _openssl(folder, "req", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "extension").write_text("subjectAltName=IP:127.0.0.1\n")
        _openssl(
            folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
            "-CAcreateserial", "-out", f"{name}.pem", "-extfile", "extension",
        )  # fmt: skip
    return folder


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def test_certificates_stand_for_the_secret(split: Path, certificates: Path) -> None:
    place = certificates
    tls = server_context(place / "server.pem", place / "server.key", place / "ca.pem")
    with InThread(Server(split, tls=tls, limits=Limits(workers=1))) as server:
        cases = {
            "device": (client_context(place / "ca.pem", place / "device.pem", place / "device.key"), State.UP),
            "no certificate": (client_context(place / "ca.pem"), State.DOWN),
            "a stranger's": (client_context(place / "ca.pem", place / "other.pem", place / "other.key"), State.DOWN),
            "another authority": (client_context(place / "stranger.pem"), State.REFUSED),
        }
        for name, (context, state) in cases.items():
            with Client(split, server.address, tls=context, chooser=Fixed("cut0"), timing=FAST) as device:
                device.connect()
                assert device.state is state, name
                assert device.run(values(0)).report.remote == (state is State.UP)
        assert server.server.totals.answered == 1


def test_certificates_that_cannot_be_used_are_named(certificates: Path, tmp_path: Path) -> None:
    with pytest.raises(OptcError, match="the certificate cannot be used"):
        server_context(certificates / "server.pem", certificates / "device.key", None)
    with pytest.raises(OptcError, match="the authority's certificate cannot be used"):
        client_context(tmp_path / "none.pem")
    with pytest.raises(UsageError, match="a certificate and its key belong together"):
        client_context(certificates / "ca.pem", certificates / "device.pem")


def test_texts_stay_short() -> None:
    assert len(pack_text("é" * 5000)) == 1024

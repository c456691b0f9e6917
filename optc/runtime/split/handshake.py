"""Who may talk: a shared secret, proved in both directions before anything else is read.

    client  HELLO      a nonce
    server  CHALLENGE  a nonce, and HMAC(secret, "server", both nonces)
    client  PROOF      the hash of its split model, and HMAC(secret, "client", both nonces, the hash)
    server  READY      what it takes; from here on every frame is sealed with a key made of secret and nonces

All but READY have one length, so nothing is parsed or allocated for a peer that has not proved the secret. An empty
secret proves nothing; it is for connections on which TLS has checked both certificates.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path

from optc.errors import OptcError
from optc.runtime.split.frames import Buffer, FrameFault

NONCE_BYTES = 32
HASH_BYTES = 32
PROOF_BYTES = 32
HELLO_BYTES = NONCE_BYTES
CHALLENGE_BYTES = NONCE_BYTES + PROOF_BYTES
REPLY_BYTES = HASH_BYTES + PROOF_BYTES
HANDSHAKE_LIMIT = 2048  # of any frame before READY; errors hold a text
MIN_SECRET, MAX_SECRET = 16, 4096


class Refused(OptcError):
    """The peer will not talk, or may not be talked to; trying again changes nothing."""


@dataclass(frozen=True)
class Keys:
    """The keys of the seals, one for each direction."""

    to_server: bytes
    to_client: bytes


def read_secret(path: Path) -> bytes:
    """The secret in a file, without white space around it.

    Raises:
        OptcError: the file cannot be read, or its content is too short to be hard to guess.
    """
    try:
        with open(path, "rb") as file:
            secret = file.read(MAX_SECRET + 1).strip()
    except OSError as fault:
        raise OptcError("the secret cannot be read", where=str(path), why=fault.strerror or str(fault)) from fault
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        why = f"it has {len(secret)} bytes, and {MIN_SECRET} to {MAX_SECRET} are needed"
        hint = f"openssl rand -hex 32 > {path}"
        raise OptcError("the secret has a wrong length", where=str(path), why=why, hint=hint)
    return secret


def nonce() -> bytes:
    return secrets.token_bytes(NONCE_BYTES)


def challenge(secret: bytes, client_nonce: bytes, server_nonce: bytes) -> bytes:
    """The payload of CHALLENGE."""
    return server_nonce + _mac(secret, b"server", client_nonce, server_nonce)


def answer(secret: bytes, client_nonce: bytes, message: Buffer, model: bytes) -> tuple[bytes, Keys]:
    """What the client makes of CHALLENGE: the payload of PROOF, and the keys.

    Args:
        secret: the client's.
        client_nonce: what it sent.
        message: the payload of CHALLENGE.
        model: the hash of its split model, 32 bytes.

    Raises:
        FrameFault: the payload is no challenge.
        Refused: the server does not know the secret.
    """
    server_nonce, proof = _halves(message, CHALLENGE_BYTES, NONCE_BYTES)
    if not hmac.compare_digest(proof, _mac(secret, b"server", client_nonce, server_nonce)):
        raise Refused("the server does not know the secret", hint="give both sides the same file with --secret-file")
    reply = model + _mac(secret, b"client", client_nonce, server_nonce, model)
    return reply, _keys(secret, client_nonce, server_nonce)


def check(secret: bytes, client_nonce: bytes, server_nonce: bytes, message: Buffer) -> tuple[bytes, Keys]:
    """What the server makes of PROOF: the hash of the client's model, and the keys.

    Raises:
        FrameFault: the payload is no proof.
        Refused: the client does not know the secret.
    """
    model, proof = _halves(message, REPLY_BYTES, HASH_BYTES)
    if not hmac.compare_digest(proof, _mac(secret, b"client", client_nonce, server_nonce, model)):
        raise Refused("the client does not know the secret")
    return model, _keys(secret, client_nonce, server_nonce)


def _keys(secret: bytes, client_nonce: bytes, server_nonce: bytes) -> Keys:
    return Keys(
        _mac(secret, b"seal to server", client_nonce, server_nonce),
        _mac(secret, b"seal to client", client_nonce, server_nonce),
    )


def _mac(secret: bytes, role: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 of a role and parts of fixed lengths."""
    return hmac.digest(secret, b"optc split 1 " + role + b"\0" + b"".join(parts), "sha256")


def _halves(message: Buffer, length: int, first: int) -> tuple[bytes, bytes]:
    if len(message) != length:
        raise FrameFault("a message of the handshake has a wrong length")
    return bytes(message[:first]), bytes(message[first:])

"""Signed artifacts: Ed25519 over the manifest, which holds the hashes of all files."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optc.artifact.manifest import MANIFEST, SIGNATURE, files_in
from optc.artifact.reading import read
from optc.artifact.whole_file import write_text
from optc.errors import OptcError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PASSWORD_VARIABLE = "OPTC_KEY_PASSWORD"

_CONTEXT = b"optc artifact signature, version 1\n"
_LARGEST = 1 << 16  # bytes of a signature or key file


def generate_key(path: Path) -> Path:
    """Write a new private key to `path`, for its owner alone, and the public key beside it.

    Returns:
        the path of the public key, `PATH.pub`.

    Raises:
        OptcError: a file exists, or cannot be written.
    """
    _cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    password = os.environ.get(PASSWORD_VARIABLE, "").encode()
    protection: Any = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    public = path.with_name(f"{path.name}.pub")
    private_text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    public_text = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for place, text, mode in ((path, private_text, 0o600), (public, public_text, 0o644)):
        try:
            handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with open(handle, "wb") as file:
                file.write(text)
        except OSError as fault:
            raise OptcError("the key cannot be written", where=str(place), why=fault.strerror) from fault
    return public


def sign(folder: Path, key: Path) -> Path:
    """Check an artifact and write its signature into it.

    Args:
        folder: the artifact.
        key: the file of a private key; where it is encrypted, $OPTC_KEY_PASSWORD opens it.

    Returns:
        the signature's file.

    Raises:
        OptcError: the artifact is damaged, or a file cannot be read or written.
        UsageError: the key is none.
    """
    private = _private_key(key)
    message = _message(folder)
    record = {
        "schema": 1,
        "algorithm": "ed25519",
        "public_key": base64.b64encode(private.public_key().public_bytes_raw()).decode(),
        "signature": base64.b64encode(private.sign(message)).decode(),
    }
    path = folder / SIGNATURE
    write_text(path, _text(record), "the signature", beside=folder)
    return path


def verify_signature(folder: Path, keys: Sequence[Path]) -> Path:
    """Check that every file of an artifact is as one of the keys' owners signed it, and that there is no other file.

    Args:
        folder: the artifact.
        keys: files of public keys that are trusted.

    Returns:
        the file of the key that signed it.

    Raises:
        OptcError: the artifact is damaged, holds further files, or is not signed by one of the keys.
        UsageError: a key is none.
    """
    _cryptography()
    from cryptography.exceptions import InvalidSignature

    trusted = [(path, _public_key(path)) for path in keys]
    message = _message(folder)
    where = str(folder)
    record = _signature(folder)
    try:
        signature = base64.b64decode(record["signature"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error) as fault:
        raise OptcError("the signature is damaged", where=str(folder / SIGNATURE)) from fault
    for path, key in trusted:
        with contextlib.suppress(InvalidSignature):
            key.verify(signature, message)
            return path
    raise OptcError(
        "the signature does not fit",
        where=where,
        why="the artifact was changed after it was signed, or another key signed it",
        hint="use it only if you know where it comes from",
    )


def _message(folder: Path) -> bytes:
    """What is signed: the manifest of an artifact whose files are as it says, and none beside them."""
    files = read(folder, check_host=False)
    known = {MANIFEST, SIGNATURE, *files.manifest.files}
    if others := [name for name in files_in(folder) if name not in known]:
        raise OptcError("the folder holds files that no manifest lists", where=str(folder), why=", ".join(others[:4]))
    return _CONTEXT + (folder / MANIFEST).read_bytes()


def _signature(folder: Path) -> dict[str, Any]:
    path = folder / SIGNATURE
    if not os.path.lexists(path):
        raise OptcError("the artifact is not signed", where=str(folder), hint="optc sign ARTIFACT --key KEY")
    content = _small_file(path, follow=False)
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as fault:
        raise OptcError("the signature is damaged", where=str(path)) from fault
    if content != _text(record).encode():
        raise OptcError("the signature is damaged", where=str(path))
    if not isinstance(record, dict) or record.get("schema") != 1 or record.get("algorithm") != "ed25519":
        raise OptcError("the signature is of an unknown kind", where=str(path))
    return record


def _text(record: Any) -> str:
    return json.dumps(record, indent=1, sort_keys=True) + "\n"


def _private_key(path: Path) -> Ed25519PrivateKey:
    _cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    password = os.environ.get(PASSWORD_VARIABLE, "").encode() or None
    try:
        key = serialization.load_pem_private_key(_small_file(path), password)
    except (ValueError, TypeError) as fault:
        hint = f"{PASSWORD_VARIABLE} holds the password of an encrypted one; optc sign --generate KEY makes one"
        raise UsageError("this is no private key", where=str(path), why=str(fault).split(".")[0], hint=hint) from fault
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError("this is no Ed25519 key", where=str(path))
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = serialization.load_pem_public_key(_small_file(path))
    except ValueError as fault:
        raise UsageError("this is no public key", where=str(path), hint="optc sign --generate wrote KEY.pub") from fault
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError("this is no Ed25519 key", where=str(path))
    return key


def _small_file(path: Path, *, follow: bool = True) -> bytes:
    """The content of a regular file of few bytes. Raises OptcError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OptcError("this is no regular file", where=str(path))
            content = file.read(_LARGEST + 1)
    except OSError as fault:
        raise OptcError("the file cannot be read", where=str(path), why=fault.strerror) from fault
    if len(content) > _LARGEST:
        raise OptcError("the file is too large", where=str(path))
    return content


def _cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as fault:
        raise OptcError("signatures need the package cryptography", hint="pip install 'optc[sign]'") from fault

"""TLS contexts from certificates in PEM files; whoever gives an authority's certificate has the peer's checked."""

from __future__ import annotations

import ssl
from pathlib import Path

from optc.errors import OptcError, UsageError


def server_context(certificate: Path, key: Path, client_authority: Path | None) -> ssl.SSLContext:
    """For a server.

    Args:
        certificate: its own, with the chain above it.
        key: of that certificate.
        client_authority: who must have signed the certificates of clients; None takes clients without one.

    Raises:
        OptcError: a file cannot be read, or does not hold what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _load_own(context, certificate, key)
    if client_authority is not None:
        _load_authority(context, client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(authority: Path, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """For a client; the name in the server's certificate has to be that of the address.

    Args:
        authority: who must have signed the server's certificate.
        certificate: the client's own, if the server wants one.
        key: of that certificate.

    Raises:
        OptcError: a file cannot be read, or does not hold what it should.
        UsageError: one of `certificate` and `key` is missing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _load_authority(context, authority)
    if (certificate is None) != (key is None):
        raise UsageError("a certificate and its key belong together", hint="give both --cert and --key")
    if certificate is not None and key is not None:
        _load_own(context, certificate, key)
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        # Without an answer OpenSSL would ask for the password of a locked key on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as fault:
        where = f"{certificate} and {key}"
        raise OptcError("the certificate cannot be used", where=where, why=_reason(fault)) from fault


def _load_authority(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except OSError as fault:
        raise OptcError("the authority's certificate cannot be used", where=str(path), why=_reason(fault)) from fault


def _reason(fault: Exception) -> str:
    if isinstance(fault, ssl.SSLError):
        return f"OpenSSL: {fault.reason or fault}"
    return getattr(fault, "strerror", None) or str(fault)

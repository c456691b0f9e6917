"""Signatures: any change of any file is found, and nobody but the key's owner can make one."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from native_kit import contents, weighted_sum

from optc import artifact
from optc.artifact import manifest as manifest_format
from optc.cli.app import run
from optc.errors import OptcError, UsageError
from optc.runtime import load

pytest.importorskip("cryptography")
from optc.artifact.signing import generate_key, sign, verify_signature

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def signed(build: Callable[..., Path], tmp_path: Path) -> Path:
    program, weights = weighted_sum()
    folder = build(program, weights)
    generate_key(tmp_path / "key")
    sign(folder, tmp_path / "key")
    return folder


def public(folder: Path) -> list[Path]:
    return [folder.parent / "key.pub"]


def test_a_signed_artifact_runs_is_verified_and_can_be_replaced(signed: Path, kernels: bytes) -> None:
    assert verify_signature(signed, public(signed)) == public(signed)[0]
    load(signed).close()
    program, weights = weighted_sum()
    artifact.write(signed, contents(program, kernels, weights))
    with pytest.raises(OptcError, match="the artifact is not signed"):
        verify_signature(signed, public(signed))


def test_every_changed_file_is_found(signed: Path) -> None:
    for path in sorted(signed.iterdir()):
        content = path.read_bytes()
        for changed in (content[:-1], content[:5] + bytes([content[5] ^ 1]) + content[6:], b""):
            path.write_bytes(changed)
            with pytest.raises(OptcError):
                verify_signature(signed, public(signed))
        path.unlink()
        with pytest.raises(OptcError):
            verify_signature(signed, public(signed))
        path.write_bytes(content)
    verify_signature(signed, public(signed))


def test_a_manifest_with_a_mended_checksum_is_found(signed: Path) -> None:
    decoded = manifest_format.decode((signed / "manifest.json").read_bytes())
    changed = dataclasses.replace(decoded, command="optc compile other.onnx")
    (signed / "manifest.json").write_bytes(manifest_format.encode(changed))
    artifact.read(signed)
    with pytest.raises(OptcError) as failure:
        verify_signature(signed, public(signed))
    assert str(failure.value) == (
        f"the signature does not fit\n  at {signed}\n"
        "  the artifact was changed after it was signed, or another key signed it\n"
        "  hint: use it only if you know where it comes from"
    )


def test_further_files_and_other_keys_are_found(signed: Path, tmp_path: Path) -> None:
    (signed / "libevil.so").touch()
    with pytest.raises(OptcError, match="the folder holds files that no manifest lists"):
        verify_signature(signed, public(signed))
    (signed / "libevil.so").unlink()
    (signed / "sub").symlink_to(tmp_path)
    with pytest.raises(OptcError, match="the folder holds files that no manifest lists"):
        verify_signature(signed, public(signed))
    (signed / "sub").unlink()
    other = generate_key(tmp_path / "other")
    with pytest.raises(OptcError, match="the signature does not fit"):
        verify_signature(signed, [other])
    assert verify_signature(signed, [other, *public(signed)]) == public(signed)[0]


@pytest.mark.parametrize("what", ["link", "pipe", "large", "text"])
def test_what_is_no_signature(what: str, signed: Path, tmp_path: Path) -> None:
    path = signed / "signature.json"
    content = path.read_bytes()
    path.unlink()
    if what == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(content + b" " * (1 << 17) if what == "large" else b"[" * 60000)
    with pytest.raises(OptcError):
        verify_signature(signed, public(signed))


def test_a_signature_is_written_into_the_artifact_alone(signed: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (signed / "signature.json").unlink()
    (signed / "signature.json").symlink_to(victim)
    sign(signed, tmp_path / "key")
    assert victim.read_text() == "mine" and not (signed / "signature.json").is_symlink()
    verify_signature(signed, public(signed))


def test_keys(tmp_path: Path, signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(OptcError, match="the key cannot be written"):
        generate_key(tmp_path / "key")
    for wrong in ("key.pub", "model/plan.json"):
        with pytest.raises(UsageError, match="this is no private key"):
            sign(signed, tmp_path / wrong)
    with pytest.raises(UsageError, match="this is no public key"):
        verify_signature(signed, [tmp_path / "key"])
    monkeypatch.setenv("OPTC_KEY_PASSWORD", "secret")
    generate_key(tmp_path / "locked")
    sign(signed, tmp_path / "locked")
    monkeypatch.delenv("OPTC_KEY_PASSWORD")
    with pytest.raises(UsageError, match="this is no private key"):
        sign(signed, tmp_path / "locked")
    assert verify_signature(signed, [tmp_path / "locked.pub"])


def test_commands(signed: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(["sign", "--generate", str(tmp_path / "new")]) == 0
    assert run(["sign", str(signed), "--key", str(tmp_path / "new")]) == 0
    capsys.readouterr()
    assert run(["verify-signature", str(signed), "--key", str(tmp_path / "new.pub"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["key"] == str(tmp_path / "new.pub")
    shutil.copy(signed / "module.mlir", signed / "copy")
    assert run(["verify-signature", str(signed), "--key", str(tmp_path / "new.pub")]) == 1
    assert run(["sign", str(signed)]) == 2

"""`optc serve` and `optc run --server`."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
from split_kit import expected, serving, values

from optc.cli.app import run


def test_run_with_a_server(split: Path, secret_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", values(0)["x"])
    with serving(split, secret_file=secret_file) as (port, _):
        command = ["run", str(split), "--server", f"127.0.0.1:{port}", "--input", f"x={tmp_path / 'x.npy'}"]
        command += ["-o", str(tmp_path / "y.npz")]
        assert run([*command, "--secret-file", str(secret_file), "--way", "remote", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["split"]["way"] == "remote" and facts["split"]["sent_bytes"] > 4000
        assert np.array_equal(np.load(tmp_path / "y.npz")["y"], expected(values(0)["x"]))
        assert run([*command, "--secret-file", str(secret_file), "--way", "cut0"]) == 0
        assert "answered with the server (cut0) in " in capsys.readouterr().err

        wrong = tmp_path / "wrong"
        wrong.write_text("not the secret of the server")
        assert run([*command, "--secret-file", str(wrong)]) == 1
        assert capsys.readouterr().err == (
            "error: the server does not know the secret\n  hint: give both sides the same file with --secret-file\n"
        )
    assert run([*command, "--secret-file", str(secret_file), "--way", "cut0"]) == 0
    errors = capsys.readouterr().err
    assert (
        "answered by the device in " in errors and "because the server cannot be reached: Connection refused" in errors
    )
    assert run(["run", str(split), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["split"]["way"] == "local"


def test_serve_refuses_what_it_cannot_serve(
    split: Path, secret_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def errors(*arguments: str) -> str:
        assert run(["serve", *arguments]) != 0
        return capsys.readouterr().err

    secret = ("--secret-file", str(secret_file))
    assert errors(str(split)) == (
        "error: the server would compute for everybody\n  hint: give --secret-file, or --cert, --key and --client-ca\n"
    )
    assert errors(str(tmp_path), *secret).startswith("error: there is no split model\n")
    assert errors(str(split), "--cert", "c.pem") == (
        "error: a certificate and its key belong together\n  hint: give both --cert and --key\n"
    )
    assert errors(str(split), "--client-ca", "c.pem", *secret) == (
        "error: clients' certificates need TLS\n  at --client-ca\n  hint: give --cert and --key too\n"
    )
    assert errors(str(split), "--next-secret-file", "s", *secret) == (
        "error: there is no next tier to tell this to\n  hint: give --next HOST:PORT\n"
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        text = errors(str(split), "--host", "127.0.0.1", "--port", str(port), *secret)
    assert text.startswith(f"error: the server cannot listen\n  at 127.0.0.1:{port}\n")

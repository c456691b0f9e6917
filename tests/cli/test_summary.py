"""What the summary of an artifact says of its verification."""

from __future__ import annotations

import pytest

from optc.cli.summary import verification_text

ENTRY = {"name": "y", "relative": 4e-6, "max_abs": 1e-5, "snr_db": 90.0}


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({}, "yes, relative error 4.00e-06 (tolerance 0.001), worst output 'y'"),
        (
            {"relative": 0.7, "max_abs": 2e-7},
            "yes, relative error 7.00e-01 (2.0e-07 absolute: rounding of float32), worst output 'y'",
        ),
        (
            {"relative": 9e-3, "snr_db": 41.2},
            "yes, relative error 9.00e-03 (codes that round otherwise: signal-to-noise ratio 41 dB), worst output 'y'",
        ),
    ],
)
def test_it_says_what_an_error_is_held_against(entry: dict[str, float], text: str) -> None:
    assert verification_text({"passed": True, "tolerance": 1e-3, "outputs": [{**ENTRY, **entry}]}) == text


def test_what_failed_or_was_not_verified() -> None:
    failed = {"passed": False, "tolerance": 1e-3, "outputs": [{**ENTRY, "relative": None}]}
    assert verification_text(failed) == "NO, relative error inf (tolerance 0.001), worst output 'y'"
    assert verification_text({"skipped": "no inputs could be made"}) == "no: no inputs could be made"
    assert verification_text(None) == "no"

"""Lengths of time as people write them on the command line: 60s, 30min, 1h, 400d."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Final

import typer

from acoustic_ad.errors import UsageError

StaleAfter = Annotated[str, typer.Option("--stale-after", help="Speak of models that were trained longer ago: 365d.")]

_SECONDS: Final = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_LONGEST_S: Final = 100 * 366 * 86_400.0


def length_of_time(text: str, option: str) -> timedelta:
    """A length of time above zero; UsageError where `text` is none."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(s|min|m|h|d|w)", text.strip(), re.ASCII)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not 0 < seconds <= _LONGEST_S:
        raise UsageError(f"{option} {text!r} is no length of time: write 60s, 30min, 1h or 400d")
    return timedelta(seconds=seconds)

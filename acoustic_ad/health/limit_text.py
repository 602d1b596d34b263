"""Limits and what they were found for, as text that a later process reads back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from acoustic_ad.errors import UsageError
from acoustic_ad.health.charts import chart_names
from acoustic_ad.health.policy import Policy
from acoustic_ad.health.search import SEARCH_VERSION, Found, Kind, Level

DIGITS: Final = 6  # of the limits that come with the package
USUAL: Final = "usual_limits.json"


@cache
def usual_limits() -> Mapping[Kind, Found]:
    """The limits that come with the package: of the usual policy, calibration sets and clip rates.

    Made by `python benchmarks/usual_limits.py`. Those of another version of the search, or policy, are of no use.
    """
    said = json.loads(files("acoustic_ad.health").joinpath(USUAL).read_text("utf-8"))
    policy = Policy()
    if said["version"] != SEARCH_VERSION or said["policy"] != asdict(policy):
        return MappingProxyType({})
    charts = len(chart_names(policy))
    return MappingProxyType({Kind(policy, *kind): _found(limits, charts) for kind, limits in said["found"]})


def read_limits(rows: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Kind, Found]]:
    """Kinds and limits, both as `json.loads` gives them; what is damaged, or of another version, is left out."""
    for kind, limits in rows:
        with suppress(ValueError, KeyError, TypeError, UsageError):
            if kind["version"] == SEARCH_VERSION:
                policy = Policy(**kind["policy"])
                own = {name: value for name, value in kind.items() if name not in ("version", "policy")}
                yield Kind(policy=policy, **own), _found(limits, len(chart_names(policy)))


def kind_json(kind: Kind) -> dict[str, Any]:
    """All that decides limits, ready for `json.dumps`."""
    return {"version": SEARCH_VERSION, **kind._asdict(), "policy": asdict(kind.policy)}


def limits_json(found: Found, digits: int | None = None) -> dict[str, Any]:
    """Limits, ready for `json.dumps`, with so many significant digits, None being all."""

    def said(value: float) -> float:
        return value if digits is None else float(f"{value:.{digits}g}")

    levels = {
        name: {
            "limit": [said(value) for value in level.limit.tolist()],
            "rise": [said(value) for value in level.rise.tolist()],
            "per_year": said(level.per_year),
            "kept": level.kept,
        }
        for name, level in (("warning", found.warning), ("alarm", found.alarm))
    }
    between = [said(value) for value in found.alarms_between]
    return {**levels, "alarms_between": between, "clips_per_year": found.clips_per_year}


def _found(said: dict[str, Any], charts: int) -> Found:
    low, high = map(float, said["alarms_between"])
    warning, alarm = _level(said["warning"], charts), _level(said["alarm"], charts)
    return Found(warning, alarm, (low, high), float(said["clips_per_year"]))


def _level(said: dict[str, Any], charts: int) -> Level:
    limit, rise = (np.array(said[name], np.float64) for name in ("limit", "rise"))
    if not limit.shape == rise.shape == (charts,) or not np.isfinite([limit, rise]).all():
        raise ValueError("limits of other charts")
    return Level(limit, rise, float(said["per_year"]), bool(said["kept"]))

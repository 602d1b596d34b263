"""Limits outlive the job that found them: each takes half a second of simulation, and a fleet needs dozens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import sqlalchemy as sa

from acoustic_ad.errors import UsageError
from acoustic_ad.health.charts import chart_names
from acoustic_ad.health.policy import Policy
from acoustic_ad.health.search import SEARCH_VERSION, Found, Kind, Level, known_limits, remember_limits
from acoustic_ad.jobs.database import upsert
from acoustic_ad.jobs.limit_schema import found_limits
from acoustic_ad.jobs.store import Store

_MOST: Final = 5_000  # rows; policies that were tried and left would else pile up


@contextmanager
def limits_remembered(store: Store) -> Iterator[None]:
    """In the block, limits that the store knows are not simulated; those that it does not know are kept at its end."""
    recall_limits(store)
    before = set(known_limits())
    yield
    new = {kind: found for kind, found in known_limits().items() if kind not in before}
    if not new:
        return
    rows = [{"kind": _text(kind), "limits": json.dumps(_as_json(found))} for kind, found in new.items()]
    with store.writing() as connection:
        if (connection.scalar(sa.select(sa.func.count()).select_from(found_limits)) or 0) > _MOST:
            connection.execute(found_limits.delete())
        upsert(connection, found_limits, ["kind"], rows, update=True)


def recall_limits(store: Store) -> None:
    """Tell this process of the limits that the store knows. Rows that are damaged, or of another version, are none."""
    found = {}
    with store.reading() as connection:
        rows = connection.execute(sa.select(found_limits.c.kind, found_limits.c.limits)).all()
    for kind, limits in rows:
        with suppress(ValueError, KeyError, TypeError, UsageError):
            known = _kind(json.loads(kind))
            if known is not None:
                found[known] = _found(json.loads(limits), len(chart_names(known.policy)))
    remember_limits(found)


def _text(kind: Kind) -> str:
    said = {"version": SEARCH_VERSION, **kind._asdict(), "policy": asdict(kind.policy)}
    return json.dumps(said, sort_keys=True)


def _kind(said: dict[str, Any]) -> Kind | None:
    """None: by another version."""
    if said.pop("version") != SEARCH_VERSION:
        return None
    return Kind(**{**said, "policy": Policy(**said["policy"])})


def _as_json(found: Found) -> dict[str, Any]:
    levels = {
        name: {**asdict(level), "limit": level.limit.tolist(), "rise": level.rise.tolist()}
        for name, level in (("warning", found.warning), ("alarm", found.alarm))
    }
    return {**levels, "alarms_between": found.alarms_between, "clips_per_year": found.clips_per_year}


def _found(said: dict[str, Any], charts: int) -> Found:
    low, high = map(float, said["alarms_between"])
    warning, alarm = _level(said["warning"], charts), _level(said["alarm"], charts)
    return Found(warning, alarm, (low, high), float(said["clips_per_year"]))


def _level(said: dict[str, Any], charts: int) -> Level:
    limit, rise = (np.array(said[name], np.float64) for name in ("limit", "rise"))
    if not limit.shape == rise.shape == (charts,) or not np.isfinite([limit, rise]).all():
        raise ValueError("limits of other charts")
    return Level(limit, rise, float(said["per_year"]), bool(said["kept"]))

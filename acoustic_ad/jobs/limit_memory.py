"""Limits outlive the job that found them: each takes half a second of simulation, and a fleet needs dozens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import sqlalchemy as sa

from acoustic_ad.health.limit_text import kind_json, limits_json, read_limits, usual_limits
from acoustic_ad.health.search import known_limits, remember_limits
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
    rows = [
        {"kind": json.dumps(kind_json(kind), sort_keys=True), "limits": json.dumps(limits_json(found))}
        for kind, found in new.items()
    ]
    with store.writing() as connection:
        if (connection.scalar(sa.select(sa.func.count()).select_from(found_limits)) or 0) > _MOST:
            connection.execute(found_limits.delete())
        upsert(connection, found_limits, ["kind"], rows, update=True)


def recall_limits(store: Store) -> None:
    """Tell this process of the limits that come with the package, and of those that the store knows."""
    with store.reading() as connection:
        rows = connection.execute(sa.select(found_limits.c.kind, found_limits.c.limits)).all()
    remember_limits(usual_limits())
    remember_limits(dict(read_limits(_parsed(rows))))


def _parsed(rows: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    for kind, limits in rows:
        with suppress(ValueError):
            yield json.loads(kind), json.loads(limits)

"""One job at a time: on SQLite one per store, on PostgreSQL one per folder, so that several computers share a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from acoustic_ad.errors import LockedError
from acoustic_ad.jobs import postgres
from acoustic_ad.jobs.database import check_local, sqlite_path, translated
from acoustic_ad.jobs.lock import hold_lock
from acoustic_ad.jobs.store import root_text
from acoustic_ad.sound.clip import one_line

# A holder whose computer lost its power is given up by the server after a minute, not after hours.
_SETTINGS: Final = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "idle_session_timeout": "0",
}
_SET: Final = sa.text("SELECT set_config(name, :value, false) FROM pg_settings WHERE name = :name")
# Of an advisory lock on a 64-bit number the server shows two halves, as numbers without signs.
_HOLDER: Final = sa.text(
    "SELECT s.application_name, s.backend_start FROM pg_locks AS l LEFT JOIN pg_stat_activity AS s USING (pid) "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid <> pg_backend_pid() "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND ((l.classid::bigint << 32) | l.objid::bigint) = :key ORDER BY s.backend_start"
)


@contextmanager
def hold_store(path_or_url: str | Path, root: str | Path | None = None) -> Iterator[None]:
    """Hold the lock of a job on the folder `root` while the block runs; None is for work on the store as a whole.

    It is refused at once where another job holds it, and free at once when its holder dies: on SQLite it is the
    kernel's, see `hold_lock`, and on PostgreSQL the server's, held by a connection of its own.
    Raises LockedError, which names the holder, and StoreError.
    """
    path = sqlite_path(path_or_url)
    if path is not None:
        check_local(path)
        with hold_lock(path_or_url):
            yield
        return
    url = postgres.server_url(str(path_or_url))
    name = postgres.shown(url)
    engine = postgres.plain_engine(url)
    with translated(name):
        connection = engine.connect()
    try:
        with translated(name):
            for setting, value in _SETTINGS.items():
                connection.execute(_SET, {"name": setting, "value": value})
            _lock(connection, name, root)
        yield
    finally:
        connection.close()  # which frees the locks


def _lock(connection: sa.Connection, name: str, root: str | Path | None) -> None:
    """Jobs share the lock of the store, which work on the whole of it takes alone; each has its folder's to itself."""
    schema = connection.exec_driver_sql("SELECT current_schema()").scalar()  # one database may hold several stores
    store = postgres.lock_key(f"store in {schema}")
    if root is None:
        _take(connection, "pg_try_advisory_lock", store, name)
        return
    _take(connection, "pg_try_advisory_lock_shared", store, name)
    folder = root_text(root)
    _take(
        connection,
        "pg_try_advisory_lock",
        postgres.lock_key(f"job in {schema} on {folder}"),
        f"{one_line(folder)} in {name}",
    )


def _take(connection: sa.Connection, function: str, key: int, what: str) -> None:
    if connection.exec_driver_sql(f"SELECT {function}({key})").scalar():
        return
    row = connection.execute(_HOLDER, {"key": key}).first()
    process = postgres.process_of(row.application_name) if row is not None else None
    holder = "another job"
    if row is not None and process is not None:
        since = row.backend_start.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        holder = one_line(f"another job (host {process[0]}, process {process[1]}, since {since})")
    raise LockedError(f"{what} is held by {holder}: let it finish, or end it, then run again")

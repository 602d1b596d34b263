"""PostgreSQL as the store: which URLs name it, how it is connected to, and how its transactions begin.

Writers stand in line behind one advisory lock, as they do in SQLite, and readers see one state of the store throughout.
So what is true of one holds for the other, and jobs on several folders can share a store.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from typing import Any, Final

import sqlalchemy as sa

from acoustic_ad.errors import StoreError

WRITES: Final = "acoustic_ad_writes"  # execution option: this transaction is going to write
CONNECT_TIMEOUT_S: Final = 10
# SQLSTATEs of what is no bug, though the driver takes it for one: insufficient privilege, invalid schema name.
USERS_ERRORS: Final = ("42501", "3F000")
_DRIVER: Final = "postgresql+psycopg"
_SECRET_PARAMETERS: Final = ("password", "sslpassword")

NEXT_STEPS: Final = (
    ("no password supplied", "it asks for a password: give it in PGPASSWORD, or in the file that PGPASSFILE names"),
    ("authentication failed", "it refuses the user or the password: check both (PGPASSWORD, PGPASSFILE, ~/.pgpass)"),
    ("database .* does not exist", "it is not there: make it with `createdb`, then run again"),
    ("no space left|could not extend", "the server's disk is full: make room there and run again"),
    ("read-only", "it cannot be written: it was opened for reading, or the server is a standby"),
    ("permission denied", "the user may not do that: grant it CONNECT on the database and CREATE on its schema"),
    ("no schema has been selected", "the schema of its search_path is not there: make it with CREATE SCHEMA"),
    ("too many (connections|clients)", "the server takes no more connections: end some, or raise max_connections"),
    ("refused|no such file|timeout|could not translate|not known|unreachable", "the server does not answer: is it up?"),
    ("terminat|closed|lost|reset", "the server broke the connection off; what was committed is kept: run again"),
)


def shown(url: sa.URL) -> str:
    """The URL as it may be told to anybody: without passwords, and without the driver that we chose."""
    if url.drivername == _DRIVER:
        url = url.set(drivername="postgresql")
    return url.difference_update_query(_SECRET_PARAMETERS).render_as_string(hide_password=True)


def server_url(text: str) -> sa.URL:
    """The URL of a PostgreSQL database, with the one driver that is tested. Raises StoreError for any other URL."""
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise StoreError("the database URL cannot be read: write it as postgresql://user@host/name") from error
    if url.drivername in ("postgresql", "postgres", _DRIVER):
        return url.set(drivername=_DRIVER)
    kind, _, driver = url.drivername.partition("+")
    if kind == "postgresql":
        raise StoreError(f"{shown(url)}: not with {driver}: write postgresql://, which connects through psycopg")
    raise StoreError(f"{shown(url)}: only SQLite and PostgreSQL can be the store")


def plain_engine(url: sa.URL) -> sa.Engine:
    """An engine whose every connection is a new one, without transactions: for locks that the connection itself holds.

    Nothing is connected yet. Raises StoreError where the driver is not installed.
    """
    return _engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")


def server_engine(url: sa.URL, *, read_only: bool) -> sa.Engine:
    """An engine for the store, whose transactions are those of the module's docstring. Otherwise as `plain_engine`."""
    engine = _engine(url, pool_pre_ping=True)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        if read_only or not connection.get_execution_options().get(WRITES):
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        else:  # each statement sees what the writer before has committed
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({lock_key('writer')})")

    return engine


def _engine(url: sa.URL, **options: Any) -> sa.Engine:
    arguments = {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": program_name()}
    try:
        return sa.create_engine(url, connect_args=arguments, **options)
    except ImportError as error:
        raise StoreError(f"{shown(url)}: its driver is missing: pip install 'acoustic-ad[postgres]'") from error


def program_name() -> str:
    """By which the server's list of sessions, and other jobs, know this process: `acoustic-ad 4711@host`."""
    return f"acoustic-ad {os.getpid()}@{socket.gethostname()}"


def process_of(name: str | None) -> tuple[str, int] | None:
    """(host, pid) of a `program_name`; None where it is none. The server cuts names off after 63 bytes."""
    found = re.fullmatch(r"acoustic-ad (\d+)@(.*)", name or "")
    return (found[2], int(found[1])) if found else None


def lock_key(what: str) -> int:
    """The number, in 64 signed bits, of the advisory lock on `what`."""
    return int.from_bytes(hashlib.sha256(f"acoustic-ad {what}".encode()).digest()[:8], "big", signed=True)

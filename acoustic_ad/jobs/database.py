"""Opening the database behind the store, and saying in one line what is wrong with it."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from acoustic_ad.errors import StoreError
from acoustic_ad.jobs import migration, postgres
from acoustic_ad.jobs.migration import SCHEMA_VERSION
from acoustic_ad.jobs.mounts import mount_of
from acoustic_ad.sound.clip import one_line

# How long a writer waits for another program's transaction (a backup, someone's sqlite3 shell).
BUSY_TIMEOUT_S: Final = 30.0
_MODE_RETRY_S: Final = 0.05

_SQLITE_MAGIC: Final = b"SQLite format 3\x00"
_NO_BEGIN: Final = "acoustic_ad_no_begin"  # execution option: no transaction at all

_READ_ONLY: Final = "it cannot be written: check the permissions of the file and of its folder"
_NEXT_STEPS: Final = (
    ("full", "the disk is full; what was not committed is not stored: make room and run again"),
    ("readonly|read-only|permission", _READ_ONLY),
    ("malformed|not a database|encrypted", "it is damaged: move it aside and restore a backup, or start a new one"),
    ("locked|busy", f"another program has kept it busy for {BUSY_TIMEOUT_S:.0f} s: end that program and run again"),
    ("unable to open", "it cannot be opened: check the permissions of the file and of its folder"),
    ("disk i/o", "the disk refuses: check its free space and health, and run again"),
)


def sqlite_path(path_or_url: str | Path) -> Path | None:
    """The absolute path of a SQLite database, links followed; None where a URL names another kind of database.

    Raises StoreError for a URL that cannot be read, or that names no file.
    """
    text = os.fspath(path_or_url)
    if not re.match(r"[a-z][a-z0-9+_]*://", text):
        if not text:
            raise StoreError("the database has an empty name: pass --db PATH or URL")
        return Path(os.path.realpath(text))
    if not text.startswith("sqlite"):
        postgres.server_url(text)
        return None
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise StoreError("the database URL cannot be read: write sqlite:///folder/name.db") from error
    if url.database in (None, "", ":memory:") or url.host:
        raise StoreError(f"{postgres.shown(url)} names no file: write sqlite:///folder/name.db")
    return Path(os.path.realpath(str(url.database)))


def check_store(path_or_url: str | Path, *, must_exist: bool = False) -> None:
    """Raise StoreError where `path_or_url` cannot be a store (a folder, a text file, ...). Touches nothing."""
    path = sqlite_path(path_or_url)
    if path is None:
        return
    name = one_line(str(path))
    try:
        if path.is_dir():
            raise StoreError(
                f"{name} is a folder: --db takes the path of a database file, such as {name}/acoustic-ad.db"
            )
        if not path.exists():
            _check_absent(path, name, must_exist)
            return
        if not path.is_file():
            raise StoreError(f"{name} is not a regular file: --db takes the path of a database file")
        with path.open("rb") as file:
            start = file.read(len(_SQLITE_MAGIC))
    except OSError as error:
        raise StoreError(f"{name}: {error.strerror}: check the permissions of the file and of its folder") from error
    if start not in (b"", _SQLITE_MAGIC):
        raise StoreError(f"{name} is not a SQLite database: name another --db; this file was left as it is")


def check_local(path: Path) -> None:
    """Raise StoreError where a SQLite store would lie on a file system that computers share. Touches nothing."""
    mount = mount_of(path)
    if mount is not None and mount.is_network:
        raise StoreError(
            f"{one_line(str(path))} lies on a network file system ({mount.kind} at {one_line(mount.point)}): SQLite's "
            "write-ahead log needs memory that its users share, which computers do not, and would be damaged: "
            "keep the database on a local disk, or use PostgreSQL (--db postgresql://user@host/name)"
        )


def _check_absent(path: Path, name: str, must_exist: bool) -> None:
    if must_exist:
        raise StoreError(f"there is no database {name}: `acoustic-ad score` makes it, or pass --db")
    if not path.parent.is_dir():
        parent = one_line(str(path.parent))
        raise StoreError(f"the folder {parent} of the database {path.name} does not exist: make it first")


def open_engine(path_or_url: str | Path, *, read_only: bool, create: bool) -> tuple[sa.Engine, str]:
    """An engine on a database of this schema, made where it is missing and `create`; and its name for messages.

    Raises StoreError. A failed creation leaves no file behind.
    """
    create = create and not read_only
    check_store(path_or_url, must_exist=not create)
    path = sqlite_path(path_or_url)
    if path is not None and not read_only and path.exists() and not os.access(path, os.W_OK):
        # SQLite would leave files beside it that cannot be written either, when the database long can.
        raise StoreError(f"database {one_line(str(path))}: {_READ_ONLY}")
    if path is None:
        url = postgres.server_url(str(path_or_url))
        engine, name = postgres.server_engine(url, read_only=read_only), postgres.shown(url)
    else:
        check_local(path)
        engine, name = _sqlite_engine(path, read_only, create), one_line(str(path))
    existed = path is None or path.exists()
    try:
        with translated(name):
            _settle_schema(engine, name, create, read_only)
            if path is not None and not read_only:
                _use_wal(engine)
    except BaseException:
        engine.dispose()
        if path is not None and not existed:
            _remove_empty(path)
        raise
    return engine, name


def _sqlite_engine(path: Path, read_only: bool, create: bool) -> sa.Engine:
    mode = "ro" if read_only else "rwc" if create else "rw"
    # As a URI of bytes, so that names that are not UTF-8, or hold a "?", work too.
    uri = f"file:{quote(os.fsencode(path))}?mode={mode}"

    def connect() -> sqlite3.Connection:
        """A connection of its own for whoever asks."""
        # isolation_level=None: BEGIN is ours to send, else a transaction would start at its first write only.
        connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA cache_size=-2048")  # KiB; a large one would make a job's memory grow with its store
        return connection

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.QueuePool)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A reader that turned writer would fail at once, without the busy timeout, if another wrote in between.
        options = connection.get_execution_options()
        if not options.get(_NO_BEGIN):
            connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(postgres.WRITES) else "BEGIN")

    return engine


def _settle_schema(engine: sa.Engine, name: str, create: bool, read_only: bool) -> None:
    with engine.connect() as connection:
        version = _schema_of(connection, name)
    if version == SCHEMA_VERSION:
        return
    if version is None and not create:
        raise StoreError(f"{name} is an empty database: `acoustic-ad score` fills it, or pass another --db")
    if version is not None and read_only:
        raise StoreError(
            f"{name} was made by an older acoustic-ad (schema {version}, this one reads {SCHEMA_VERSION}): "
            "run `acoustic-ad score` once, which brings it up to date and keeps every row"
        )
    with writing(engine) as connection:
        version = _schema_of(connection, name)  # another process may have been faster
        if version is None:
            migration.create(connection)
        elif version < SCHEMA_VERSION:
            migration.migrate(connection)


def _schema_of(connection: sa.Connection, name: str) -> int | None:
    """The schema's number, None for a database without tables.

    Raises StoreError for a database of another program, or of a newer acoustic-ad.
    """
    tables = set(sa.inspect(connection).get_table_names())
    if not tables:
        return None
    ours = {"schema_version", "clip_scores", "files"} <= tables
    version = migration.version_of(connection) if ours else None
    if version is None:
        raise StoreError(
            f"{name} belongs to another program (tables {', '.join(sorted(tables)[:3])}): name another --db"
        )
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{name} was made by a newer acoustic-ad (schema {version}, this one knows {SCHEMA_VERSION}): "
            "upgrade acoustic-ad, or name another --db"
        )
    return version


def _use_wal(engine: sa.Engine) -> None:
    """People look at the store while a job writes. After the schema, so that a failed creation leaves an empty file.

    SQLite's busy timeout does not cover the change of mode, which no other reader may disturb.
    """
    give_up = time.monotonic() + BUSY_TIMEOUT_S
    with engine.execution_options(**{_NO_BEGIN: True}).connect() as connection:
        while connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
            try:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            except sa.exc.OperationalError as error:
                if "locked" not in str(error.orig) or time.monotonic() > give_up:
                    raise
                time.sleep(_MODE_RETRY_S)


def compact(engine: sa.Engine) -> None:
    """See `Store.compact`."""
    if engine.dialect.name == "sqlite":
        with engine.execution_options(**{_NO_BEGIN: True}).connect() as connection:
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                connection.exec_driver_sql(statement)
    else:
        with postgres.plain_engine(engine.url).connect() as connection:
            connection.exec_driver_sql("VACUUM (ANALYZE) clip_scores, files, kept_clips, runs")


def _remove_empty(path: Path) -> None:
    with suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()


# --- transactions ----------------------------------------------------------------------------------------------------


@contextmanager
def translated(name: str) -> Iterator[None]:
    """What the world does to a database (disk full, damage, permissions) as a StoreError; bugs stay as they are."""
    try:
        yield
    except sa.exc.DatabaseError as error:
        users_error = getattr(error.orig, "sqlstate", None) in postgres.USERS_ERRORS
        is_bug = isinstance(error, sa.exc.IntegrityError | sa.exc.ProgrammingError | sa.exc.DataError)
        if is_bug and not users_error:
            raise
        said = one_line(" ".join(str(error.orig).split()))
        for pattern, next_step in postgres.NEXT_STEPS if name.startswith("postgresql") else _NEXT_STEPS:
            if re.search(pattern, said, re.IGNORECASE):
                raise StoreError(f"database {name}: {next_step} ({said})") from error
        raise StoreError(f"database {name}: {said}") from error


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction that writes: all of it, or on any exception nothing."""
    with engine.execution_options(**{postgres.WRITES: True}).begin() as connection:
        yield connection


def upsert(
    connection: sa.Connection,
    table: sa.Table,
    keys: Sequence[str],
    rows: Sequence[dict[str, Any]],
    *,
    update: bool,
    among: sa.ColumnElement[bool] | None = None,
) -> None:
    """Insert `rows` (equal columns); where one with the same `keys` exists, update it, or leave it as it is.

    `among` is the condition of the unique index on `keys`, where that is a partial one.

    The one place with dialect's SQL: INSERT ... ON CONFLICT, which SQLite and PostgreSQL write alike.
    """
    if not rows:
        return
    insert = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    if update:
        changed = {column: insert.excluded[column] for column in rows[0] if column not in keys}
        statement = insert.on_conflict_do_update(index_elements=keys, index_where=among, set_=changed)
    else:
        statement = insert.on_conflict_do_nothing(index_elements=keys, index_where=among)
    connection.execute(statement, rows)

"""A PostgreSQL server for the length of a test run: a cluster of its own, on a socket of its own, gone afterwards."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from needed import require

USER = "plant"  # may do everything, and needs no password
GUARDED, PASSWORD = "guarded", "se cret/1"  # owns nothing, and needs one
_PR_SET_PDEATHSIG = 1


@dataclass
class PostgresServer:
    """A server that runs."""

    folder: Path
    process: subprocess.Popen[bytes]
    _numbers: Iterator[int] = field(default_factory=count)

    def url(self, database: str, user: str = USER) -> str:
        return f"postgresql://{user}@/{database}?host={quote(str(self.folder))}"

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run one statement, outside a transaction."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def new_database(self) -> str:
        """The URL of an empty schema: as good as a database, and much quicker to make."""
        name = f"plant_{next(self._numbers)}"
        self.execute(f"CREATE SCHEMA {name}")
        return f"{self.url('postgres')}&options=-csearch_path%3D{name}"


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """A server; where PostgreSQL or its driver is not installed, the test is skipped."""
    require("psycopg", find_spec("psycopg"), "pip install 'acoustic-ad[postgres]'")
    programs = _programs()
    require("postgresql", programs)
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # short: it is part of a socket's name
    account = _account()
    if account is not None:
        os.chown(folder, account["user"], account["group"])
    try:
        _make_cluster(programs, folder, account or {})
        command = [programs / "postgres", "-D", folder / "data", "-k", folder, "-F"]
        log = (folder / "log").open("wb")
        options = {"listen_addresses": "", "max_connections": "60", "shared_buffers": "32MB"}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (
            log,
            subprocess.Popen(
                [*command, *settings],
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
                cwd=folder,
                **(account or {}),
            ) as process,
        ):
            server = PostgresServer(folder, process)
            try:
                _wait_for(server)
                server.execute(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'")
                yield server
            finally:
                process.send_signal(signal.SIGQUIT)  # at once: nothing is to be kept
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    """The folder of PostgreSQL's programs: Debian's, the newest, or where `postgres` is found."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if debian:
        return debian[-1].parent
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


def _account() -> dict[str, int] | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid}
    require("a user postgres or nobody, as PostgreSQL does not run as root,", None, "adduser --system postgres")
    return None


def _make_cluster(programs: Path, folder: Path, account: dict[str, int]) -> None:
    data = folder / "data"
    command = [programs / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    done = subprocess.run(command, capture_output=True, cwd=folder, check=False, **account)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr.decode()
    (data / "pg_hba.conf").write_text(f"local all {USER} trust\nlocal all all scram-sha-256\n")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _wait_for(server: PostgresServer) -> None:
    import psycopg

    end = time.monotonic() + 60
    while True:
        try:
            server.execute("SELECT 1")
            return
        except psycopg.OperationalError:
            if time.monotonic() > end or server.process.poll() is not None:
                raise AssertionError((server.folder / "log").read_text()) from None
            time.sleep(0.05)

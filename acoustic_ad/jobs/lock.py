"""One job at a time: a lock that is refused at once, names its holder, and dies with it."""

from __future__ import annotations

import errno
import json
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from acoustic_ad.errors import LockedError, StoreError
from acoustic_ad.jobs.database import check_store, sqlite_path
from acoustic_ad.sound.clip import one_line


@contextmanager
def hold_lock(path_or_url: str | Path) -> Iterator[None]:
    """Hold the lock of a SQLite store, or of any other path whose folder exists, while the block runs.

    The lock is an flock on `<path>.lock`: the kernel frees it when its holder dies, however that happens. The file
    stays where it is, because removing a lock file lets two jobs hold "the" lock. `<path>.lock.json` says who holds it.
    Raises LockedError where another job holds it (there is no waiting), and StoreError where no lock can be made (a
    folder that cannot be written or does not exist, a path that cannot be a store, a file system without locks).
    """
    check_store(path_or_url)
    path = sqlite_path(path_or_url)
    if path is None:
        raise StoreError("a lock file lies beside a file: only SQLite databases are one")
    lock_path = path.with_name(path.name + ".lock")
    holder_path = path.with_name(path.name + ".lock.json")
    # Not thread-local: a lock taken by a helper thread must be released by whichever thread ends the job.
    lock = filelock.FileLock(lock_path, timeout=0, thread_local=False)
    _acquire(lock, path, holder_path)
    try:
        _write_holder(holder_path)
        yield
    finally:
        with suppress(OSError):
            holder_path.unlink()
        lock.release()


def _acquire(lock: filelock.BaseFileLock, path: Path, holder_path: Path) -> None:
    name, folder = one_line(str(path)), one_line(str(path.parent))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no flock: said below, as an error
            lock.acquire()
    except filelock.Timeout:
        if not Path(lock.lock_file).exists():  # nobody holds it: the folder takes no new files
            raise StoreError(f"{name} cannot be locked: the folder {folder} must be writable") from None
        raise LockedError(
            f"{name} is held by {_holder(holder_path)}: let it finish, or end it, then run again"
        ) from None
    except NotImplementedError as error:
        raise _no_locks(name) from error
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
            raise _no_locks(name) from error
        why = error.strerror or "no lock can be made"
        raise StoreError(f"{name} cannot be locked: {why}: the folder {folder} must be writable") from error
    if isinstance(lock, filelock.SoftFileLock):
        # filelock's substitute where there is no flock: it would outlive a killed holder.
        lock.release()
        raise _no_locks(name)


def _no_locks(name: str) -> StoreError:
    return StoreError(f"{name}: this file system has no file locks: keep the database on a local disk")


def _write_holder(path: Path) -> None:
    holder = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    # The lock holds without it: on a full disk the job goes on to say so itself, with what it could not store.
    try:
        beside.write_text(json.dumps(holder), encoding="utf-8")
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()


def _holder(path: Path) -> str:
    """Who holds the lock, in words; less where the note is missing, damaged, or left by a holder that died."""
    try:
        holder: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        host, pid, since = str(holder["host"]), int(holder["pid"]), str(holder["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return "another job"
    if host == socket.gethostname() and not _is_alive(pid):
        return "another job"  # one that started this moment, and has not yet written its own note
    return one_line(f"another job (host {host}, process {pid}, since {since})")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True

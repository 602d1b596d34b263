"""What happens in a job, as events of the standard library's logging: a name, fields, and the run that they belong to.

Who wants to see them attaches a handler to the logger `acoustic_ad`; without one, nothing below a warning goes
anywhere, and warnings neither, because commands say on their own what people must read.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

LOGGER: Final = logging.getLogger("acoustic_ad")
LOGGER.addHandler(logging.NullHandler())
LOGGER.propagate = False  # a root handler of a library must not double them

# One run of a job: `run` is unique among all stores, `run_id` its number in the store, once there is one.
_run: ContextVar[dict[str, Any] | None] = ContextVar("run", default=None)

# A password may hold an @ that nobody encoded: all up to the last one goes.
_URL_PASSWORD = re.compile(r"(://[^/@\s:]*:)\S*(@)")
_SECRET_FIELD = re.compile(r"(?i)\b(pass(?:word|wd)?|secret|token|api[_-]?key|signature)=[^&\s;,'\"]+")


def event(level: int, name: str, **fields: Any) -> None:
    """Tell that `name` happened, with fields that JSON can hold."""
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, name, extra={"fields": fields, "run": dict(_run.get() or {})})


@contextmanager
def run_context() -> Iterator[None]:
    """A run of its own for all events in the block."""
    token = _run.set({"run": secrets.token_hex(6), "run_id": None})
    try:
        yield
    finally:
        _run.reset(token)


@contextmanager
def telling_run(
    run_id: int, folder: Path, recognised: str, counts: Callable[[], Mapping[str, int]], ignored: Mapping[str, int]
) -> Iterator[None]:
    """Tell that a run over a folder begins and, however it ends, what became of every clip that was found.

    The counts of the summary add up: `found` is the sum of all others but `ignored`, which are no clips.
    """
    run = _run.get()
    if run is not None:
        run["run_id"] = run_id
    event(logging.INFO, "run_started", folder=str(folder), recognised=recognised, found=counts()["found"])
    try:
        yield
    finally:
        known = dict(counts())
        known["not_reached"] = known["found"] - sum(value for key, value in known.items() if key != "found")
        event(logging.INFO, "summary", **known, ignored=dict(ignored))


def masked(text: str) -> str:
    """`text` without the passwords of URLs, and without what follows `password=` and the like."""
    return _SECRET_FIELD.sub(r"\1=***", _URL_PASSWORD.sub(r"\1***\2", text))


def masked_fields(value: Any) -> Any:
    """As `masked`, in all texts of a JSON value; keys that name a secret lose their value."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {str(key): "***" if _is_secret(str(key)) else masked_fields(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [masked_fields(item) for item in value]
    return value


def _is_secret(key: str) -> bool:
    return re.search(r"(?i)password|passwd|secret|token|api_?key", key) is not None

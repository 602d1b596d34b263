"""--log-format and --log-level: events on stderr, one line each, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from acoustic_ad.errors import UsageError
from acoustic_ad.jobs.events import LOGGER, masked_fields

LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
FORMATS: Final = ("text", "json")

LogFormat = Annotated[
    str | None,
    typer.Option("--log-format", help="Events on stderr, one line each, as `text` or `json`, instead of remarks."),
]
LogLevel = Annotated[
    str | None, typer.Option("--log-level", help="Events from `debug`, `info` (default), `warning` or `error` on.")
]


def open_log(form: str | None, level: str | None) -> bool:
    """Show events from now on, where a format or a level was asked for. Returns whether that is so."""
    if form is None and level is None:
        return False
    form, level = form or "text", (level or "info").lower()
    if form not in FORMATS:
        raise UsageError(f"--log-format {form}: must be {' or '.join(FORMATS)}")
    if level not in LEVELS:
        raise UsageError(f"--log-level {level}: must be one of {', '.join(LEVELS)}")
    handler = _Stderr()
    handler.setFormatter(_Json() if form == "json" else _Text())
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(LEVELS[level])
    logging.captureWarnings(True)  # of libraries: they would else be lines of no format
    logging.getLogger("py.warnings").handlers[:] = [handler]
    return True


def log_is_open() -> bool:
    """Whether events are shown, in place of remarks for people."""
    return any(isinstance(handler, _Stderr) for handler in LOGGER.handlers)


class _Stderr(logging.Handler):
    """Lines on stderr, whole ones also where several threads write. Where nobody can read them, the job goes on."""

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        with suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


def _document(record: logging.LogRecord) -> dict[str, Any]:
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = {"time": time, "level": record.levelname.lower(), **getattr(record, "run", {})}
    name, fields = record.getMessage(), masked_fields(getattr(record, "fields", {}))
    if record.name != LOGGER.name:
        name, fields = "library_warning", {"message": masked_fields(name.strip())}
    # What a record is known by is never taken over by a field.
    return {**head, "event": name, **{key: value for key, value in fields.items() if key not in head}}


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_document(record), ensure_ascii=True, default=str)


class _Text(logging.Formatter):
    """`TIME LEVEL EVENT key=value ...`; values with blanks or controls in them are quoted as in JSON."""

    def format(self, record: logging.LogRecord) -> str:
        document = _document(record)
        head = (document.pop("time"), document.pop("level").upper(), document.pop("event"))
        return " ".join([*head, *(f"{key}={_plain(value)}" for key, value in document.items() if value is not None)])


def _plain(value: Any) -> str:
    if isinstance(value, str) and value and value.isprintable() and not set(value) & set(' "\\='):
        return value
    ascii_only = not (isinstance(value, str) and value.isprintable())
    return json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"), default=str)

"""How the command line talks: data on stdout, progress and errors on stderr, exit codes, interrupts."""

from __future__ import annotations

import errno
import functools
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import typer

from acoustic_ad.console_log import log_is_open
from acoustic_ad.errors import AcousticADError
from acoustic_ad.jobs.events import event, masked
from acoustic_ad.sound.clip import one_line

Command = TypeVar("Command", bound=Callable[..., Any])


# Clearing up after an interrupt ends within this time; signals that come meanwhile change nothing.
CLEARING_UP_S = 5.0
# What the system says of an output that takes nothing more: full, broken, over quota, or closed from the start.
OUTPUT_ERRORS = frozenset({errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT, errno.EBADF})


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived. No KeyboardInterrupt, for which Python has ways of its own to end a program."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number

    def __str__(self) -> str:
        done = "terminated" if self.exit_code == 128 + signal.SIGTERM else "interrupted"
        return f"{done}; what was finished is kept"


def run_program(program: Callable[[], Any]) -> None:
    """Run the whole command line; help and usage errors, which no command prints, have the same manners."""
    _settle_streams()
    listened_to = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    for number in listened_to:  # the others are ignored on purpose, as by nohup
        signal.signal(number, _end)
    try:
        program()
    except Interrupted as interrupt:
        complain(str(interrupt))
        sys.exit(interrupt.exit_code)
    except OSError as error:
        if error.errno not in OUTPUT_ERRORS:
            raise
        _silence_stdout()
        complain(f"cannot write: {os.strerror(error.errno or errno.EIO)}")
        sys.exit(1)
    finally:
        for number in listened_to:  # what is done is done: how it ended is not for a late signal to change
            signal.signal(number, signal.SIG_IGN)


def _settle_streams() -> None:
    """Make the standard streams usable where the caller closed them, or where they cannot encode every name.

    A closed one is opened again, because its number would else go to the next file that is opened: a database must not
    receive what was meant for people.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # Standard output is opened for reading: so the answer that nobody can get is an error.
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115  # for as long as the program runs
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def command(function: Command) -> Command:
    """Give a command its manners: errors as one message and an exit code, interrupts as one line, no traceback."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        """The command, with its manners."""
        # Libraries log what they then raise: said once is enough.
        logging.getLogger().addHandler(logging.NullHandler())
        try:
            return function(*args, **kwargs)
        except AcousticADError as error:
            complain(str(error))
            raise typer.Exit(error.exit_code) from None
        except Interrupted as interrupt:
            complain(str(interrupt))
            raise typer.Exit(interrupt.exit_code) from None

    return run  # type: ignore[return-value]


_asked_to_end: list[tuple[float, int]] = []  # when, by time.monotonic, and by which signal


def _end(signum: int, frame: object) -> None:
    """Ask the program to end. Who is impatient and asks again must not disturb its clearing up."""
    now = time.monotonic()
    if _asked_to_end and now - _asked_to_end[-1][0] < CLEARING_UP_S:
        return
    _asked_to_end.append((now, signum))
    raise Interrupted(signum)


def sleep_unless_asked_to_end(seconds: float) -> None:
    """Sleep; raises Interrupted at once where a signal has arrived that ended nothing.

    What is raised while Python clears an object away (a finaliser, a callback of the collector) is printed and
    forgotten: a program that goes on for years must not be deaf to a signal that came at such a moment.
    """
    if _asked_to_end:
        raise Interrupted(_asked_to_end[-1][1])
    time.sleep(seconds)


def complain(message: str) -> None:
    """An error, on stderr; in a log, an event."""
    if log_is_open():
        event(logging.ERROR, "error", message=message)
    else:
        _write(f"acoustic-ad: {masked(message)}")


def say(message: str) -> None:
    """A remark that is not the answer, on stderr; in a log, an event."""
    if log_is_open():
        event(logging.INFO, "remark", message=message)
    else:
        _write(masked(message))


def _write(message: str) -> None:
    """To stderr, without what could steer a terminal. Where nobody can read it, the job goes on."""
    shown = "\n".join(one_line(line) for line in message.split("\n"))
    with suppress(OSError):
        sys.stderr.write(f"{shown}\n")
        sys.stderr.flush()


def answer(text: str) -> None:
    """The command's answer, on stdout. A reader that went away is no error; a stdout that cannot be written is."""
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
    except OSError as error:
        _silence_stdout()
        raise AcousticADError(f"cannot write to standard output: {os.strerror(error.errno or errno.EIO)}") from error


def answer_json(document: Any) -> None:
    """The command's answer as one JSON document."""
    answer(json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False, default=str))


def _silence_stdout() -> None:
    """Python flushes stdout once more at exit, and would complain then."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


@contextmanager
def progress_bar(shown: bool = True) -> Iterator[Callable[[str, int, int, str], None]]:
    """Bars on stderr, one a name: `report(name, done, total, remark)`; none beside a log, or without a terminal."""
    if not shown or log_is_open() or not sys.stderr.isatty():
        yield lambda name, done, total, remark: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars: dict[str, Any] = {}
    with Progress(
        *columns, TextColumn("{task.fields[remark]}"), console=Console(stderr=True), transient=True
    ) as progress:

        def report(name: str, done: int, total: int, remark: str) -> None:
            if name not in bars:
                from rich.markup import escape

                bars[name] = progress.add_task(escape(name), total=total, remark="")
            progress.update(bars[name], completed=done, total=total, remark=remark, visible=done < total)

        yield report

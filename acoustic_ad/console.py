"""How the command line talks: data on stdout, progress and errors on stderr, exit codes, interrupts."""

from __future__ import annotations

import errno
import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import typer

from acoustic_ad.errors import AcousticADError

Command = TypeVar("Command", bound=Callable[..., Any])


class Terminated(BaseException):
    """SIGTERM arrived."""


def command(function: Command) -> Command:
    """Give a command its manners: errors as one message and an exit code, interrupts as one line, no traceback."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        previous = signal.signal(signal.SIGTERM, _terminate)
        try:
            return function(*args, **kwargs)
        except AcousticADError as error:
            complain(str(error))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            complain("interrupted; what was finished is kept")
            raise typer.Exit(130) from None
        except Terminated:
            complain("terminated; what was finished is kept")
            raise typer.Exit(143) from None
        finally:
            signal.signal(signal.SIGTERM, previous)

    return run  # type: ignore[return-value]


def _terminate(signum: int, frame: object) -> None:
    raise Terminated


def complain(message: str) -> None:
    """An error, on stderr."""
    sys.stderr.write(f"acoustic-ad: {message}\n")


def say(message: str) -> None:
    """A remark that is not the answer, on stderr."""
    sys.stderr.write(f"{message}\n")


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
    """Bars on stderr, one a name: `report(name, done, total, remark)`. Nothing where stderr is not a terminal."""
    if not shown or not sys.stderr.isatty():
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
            progress.update(bars[name], completed=done, total=total, remark=remark)
            if done >= total and len(bars) > 1:
                progress.update(bars[name], visible=False)

        yield report

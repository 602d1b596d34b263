"""`acoustic-ad watch`: `score` again and again in one process, with all its options."""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Callable
from typing import Annotated, Any, Final, get_type_hints

import typer

from acoustic_ad.cli_durations import length_of_time
from acoustic_ad.console import command, complain, say, sleep_unless_asked_to_end
from acoustic_ad.console_log import log_is_open
from acoustic_ad.jobs.events import event

FIRST_SIGNAL_CODE: Final = 128

Every = Annotated[str, typer.Option("--every", help="From start to start: 60s, 15min, 1h.")]
Runs = Annotated[int | None, typer.Option("--runs", min=1, help="Stop after so many, with the last one's exit code.")]


def watching(score: Callable[..., None]) -> Callable[..., None]:
    """The command `watch` over the command `score`: what `score` can be told, `watch` can be told too."""

    @command
    def watch(every: str, runs: int | None, **asked: Any) -> None:
        """Score every new clip in FOLDER now, and again every 60 s, until it is told to end.

        What goes wrong in a run is said, and the next run tries again; so does a database that another job holds, and
        each run takes the models as they then are. Runs start on the beat and do not overlap: a run that takes longer
        than --every leaves starts out. SIGTERM and SIGINT end it, with the run at work cut short (143, 130); what was
        finished is kept. Options that are wrong end it at once (2).
        """
        from acoustic_ad.jobs.watch import repeat

        every_s = length_of_time(every, "--every").total_seconds()

        def tell(count: int) -> None:
            starts = "1 start was" if count == 1 else f"{count} starts were"
            say(f"the run took longer than --every {every}: {starts} left out")

        def run() -> int:
            sleep_unless_asked_to_end(0.0)
            return _run(score, asked | {"every": every})

        raise typer.Exit(repeat(run, every_s, runs, tell, sleep_unless_asked_to_end))

    own = inspect.signature(watch).parameters
    theirs = inspect.signature(score, eval_str=True).parameters
    added = [
        own["every"].replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=Every, default="60s"),
        own["runs"].replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=Runs, default=None),
    ]
    shared = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in theirs.values() if one.name not in own]
    watch.__signature__ = inspect.Signature([*shared, *added])  # type: ignore[attr-defined]
    watch.__annotations__ = {**get_type_hints(score, include_extras=True), "every": Every, "runs": Runs}
    return watch


def _run(score: Callable[..., None], asked: dict[str, Any]) -> int:
    """One run; returns its exit code. Raises typer.Exit where a signal ended it."""
    try:
        score(**asked)
    except typer.Exit as end:
        if end.exit_code >= FIRST_SIGNAL_CODE:
            raise
        return end.exit_code
    except Exception as error:
        # A bug: said with all that is needed to mend it, and no reason to be deaf from now on.
        if log_is_open():
            event(logging.ERROR, "bug", message=repr(error), traceback=traceback.format_exc())
        else:
            complain(f"a bug in acoustic-ad ended this run:\n{traceback.format_exc()}")
        return 1
    return 0

"""Schedule: what a timer has to run, how often, and as a crontab line; systemd and Kubernetes have files of their own.

Names and paths come from people and may hold anything: what a scheduler can be told exactly is escaped by its rules,
and the rest is refused.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from acoustic_ad.errors import UsageError
from acoustic_ad.sound.clip import one_line

DAY_MIN: Final = 1_440
WEEK_MIN: Final = 7 * DAY_MIN
# Debian's cron cuts longer commands off without a word.
MOST_CRON_CHARACTERS: Final = 998

_PASSWORD_IN_URL = re.compile(r"://[^/@\s]*:[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class ScheduledJob:
    """A `score` that a scheduler is to start. All paths are absolute."""

    name: str
    every_min: int
    folder: Path
    models: Path
    db: str | None  # a path or URL; None where the environment names it
    program: tuple[str, ...]  # the words that start acoustic-ad
    extra: tuple[str, ...] = ()  # options of `score`
    written: tuple[Path, ...] = ()  # folders in which these options write
    environment: str | None = None  # a file of KEY=value lines, or the name of a Kubernetes secret

    def command(self, *log_options: str) -> list[str]:
        """The words of the whole command."""
        db = () if self.db is None else ("--db", self.db)
        every = ("--every", f"{self.every_min}min")
        score = (*self.program, "score", str(self.folder), "--models", str(self.models))
        return [*score, *db, *every, *self.extra, *log_options]

    @property
    def database(self) -> Path | None:
        """The database's file, None where it is a URL or not known."""
        return None if self.db is None or "://" in self.db else Path(self.db)

    @property
    def writable(self) -> list[Path]:
        """Folders that the job writes in."""
        places = list(self.written) + ([self.database.parent] if self.database is not None else [])
        return sorted(set(places))


def check_job(job: ScheduledJob) -> None:
    """Raise UsageError for what no unit file may hold: control characters, undecodable names, and passwords."""
    if not job.name:
        raise UsageError("--name is empty: give the job a name")
    for word in (job.name, job.environment or "", *job.command()):
        if not _is_text(word):
            raise UsageError(
                f"{one_line(word)}: line ends, control characters and bytes that are not UTF-8 cannot be put into a "
                "unit file: rename it"
            )
        if _PASSWORD_IN_URL.search(word):
            raise UsageError(
                "a password in a URL would stand in the unit file for all to read: put ACOUSTIC_AD_DB=URL into a file "
                "of the environment (--environment), or the password into ~/.pgpass"
            )


def _is_text(word: str) -> bool:
    try:
        word.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return not any(_is_special(ord(c)) for c in word)


def _is_special(code: int) -> bool:
    """Control characters, what ends a line for some readers, and noncharacters, which systemd and YAML refuse.

    Formatting characters such as zero-width joiners are text.
    """
    control = code < 32 or 127 <= code < 160
    return control or code in (0x2028, 0x2029, 0xFEFF) or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def whole_minutes(every_s: float) -> int:
    """An interval in minutes; raises UsageError for what no scheduler does."""
    if every_s < 60 or every_s % 60:
        raise UsageError(f"--every {interval_words(every_s)}: schedulers go by whole minutes")
    return int(every_s // 60)


def cron_times(every_min: int) -> str:
    """The five fields of a crontab for an interval; raises UsageError that lists the intervals which it can express."""
    hours = every_min // 60
    if every_min == WEEK_MIN:
        return "0 0 * * 1"
    if every_min == DAY_MIN:
        return "0 0 * * *"
    if every_min % 60 == 0 and hours and 24 % hours == 0:
        return "0 * * * *" if hours == 1 else f"0 */{hours} * * *"
    if every_min < 60 and 60 % every_min == 0:
        return "* * * * *" if every_min == 1 else f"*/{every_min} * * * *"
    raise UsageError(
        f"--every {interval_words(every_min * 60)}: a crontab line cannot say that. It can say "
        f"{_list(n for n in range(1, 60) if 60 % n == 0)} min, {_list(n for n in range(1, 24) if 24 % n == 0)} h, "
        "1 d, 7 d; systemd can say every divisor of a day"
    )


def cron_line(job: ScheduledJob) -> str:
    """A comment and a line for `crontab -e`; only what went wrong is said, because cron mails every word.

    Raises UsageError for intervals, names and lengths that cron cannot take.
    """
    check_job(job)
    if job.environment is not None:
        raise UsageError("cron reads no file of the environment: set ACOUSTIC_AD_DB in the crontab, or use ~/.pgpass")
    times = cron_times(job.every_min)
    command = " ".join(cron_word(word) for word in job.command("--log-level", "warning")) + " >/dev/null"
    if len(command.encode()) > MOST_CRON_CHARACTERS:
        raise UsageError(
            f"the command has {len(command.encode())} bytes; cron takes {MOST_CRON_CHARACTERS}: use shorter paths"
        )
    return f"# {job.name}: every {interval_words(job.every_min * 60)}\n{times} {command}\n"


def cron_word(word: str) -> str:
    r"""A word as the shell behind cron takes it literally.

    cron cuts a line at a bare %. Some versions turn \% into % and two backslashes into one before the shell sees them,
    others leave that to the shell: so each % stands outside of the quotes, and no two backslashes side by side.
    """
    if "%" not in word and "\\" not in word:
        return shlex.quote(word)
    inner = word.replace("'", "'\"'\"'")
    return "'" + re.sub(r"\\(?=\\)", r"\\''", inner).replace("%", r"'\%'") + "'"


def interval_words(seconds: float) -> str:
    """A length of time in the largest unit that takes it whole: "90 min", "1 h"."""
    for name, unit in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds:g} s"


def _list(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))

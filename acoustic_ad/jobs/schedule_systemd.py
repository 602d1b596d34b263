"""A systemd service and its timer for a scheduled job."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from acoustic_ad.errors import UsageError
from acoustic_ad.jobs.schedule import DAY_MIN, WEEK_MIN, ScheduledJob, check_job, interval_words

LONGEST_UNIT_NAME: Final = 255  # with its suffix

_SERVICE: Final = """\
# {name}.service, printed by `acoustic-ad schedule systemd`
[Unit]
Description=acoustic-ad scores new recordings ({description})
{unit}
[Service]
Type=oneshot
ExecStart={command}
# 5: another job is at work on the same store; 143: stopped on purpose. Clips that could not be scored (3), and alarms
# with --exit-on (4), make the unit fail once, so that OnFailure= and `systemctl --failed` tell of them.
SuccessExitStatus=5 143
# A first run over a backlog may take hours.
TimeoutStartSec=infinity
TimeoutStopSec=30
StandardOutput=null
Nice=10
UMask=0027
{service}NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
{private_tmp}PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
CapabilityBoundingSet=
"""

_TIMER: Final = """\
# {name}.timer, printed by `acoustic-ad schedule systemd`
[Unit]
Description=acoustic-ad every {interval} ({description})

[Timer]
{calendar}
AccuracySec=1s
# What was missed while the computer was off is made up for when it is on again.
Persistent=true

[Install]
WantedBy=timers.target
"""


def systemd_units(job: ScheduledJob, user: str | None = None) -> dict[str, str]:
    """File name -> content, of the service and its timer; `user` is whom the service runs as, None for root.

    Raises UsageError for what systemd cannot take.
    """
    check_job(job)
    name = unit_name(job.name)
    if len(name) + len(".service") > LONGEST_UNIT_NAME:
        raise UsageError(f"--name makes a unit name of {len(name)} characters; systemd takes {LONGEST_UNIT_NAME - 8}")
    description = job.name.replace("%", "%%")
    service = _SERVICE.format(
        name=name,
        description=description,
        unit=_unit_lines(job),
        command=" ".join(exec_words(job.command("--log-format", "text"))),
        service=_service_lines(job, user),
        private_tmp="" if _uses_tmp(job) else "PrivateTmp=yes\n",
    )
    timer = _TIMER.format(
        name=name,
        interval=interval_words(job.every_min * 60),
        description=description,
        calendar="\n".join(f"OnCalendar={line}" for line in calendar_lines(job.every_min)),
    )
    return {f"{name}.service": service, f"{name}.timer": timer}


def unit_name(name: str) -> str:
    r"""`name` as a unit's name: what may not stand there becomes `\x..`, as systemd-escape writes it.

    Hyphens stay, for people; a leading one, or a dot, would pass for an option or a hidden file. A colon would
    do, but `systemd-analyze verify` takes it for the end of a file's name.
    """

    def escape(match: re.Match[str]) -> str:
        return "".join(f"\\x{byte:02x}" for byte in match[0].encode())

    return re.sub(r"^[-.]|[^A-Za-z0-9_.-]", escape, name)


def exec_words(words: list[str]) -> list[str]:
    """The words of a command as ExecStart= takes them literally: no specifiers (%), no variables ($), no separators."""
    program, *arguments = words
    if not program.startswith("/"):
        raise UsageError(f"--program {program}: systemd needs its absolute path")
    if set(program) & set("\"'\\"):
        raise UsageError(f"--program {program}: systemd takes no quotes and backslashes there: pass another --program")
    # Variables are not looked up in the program's own path.
    return [quoted(program), *(quoted(word).replace("$", "$$") for word in arguments)]


def quoted(word: str) -> str:
    """A word of a list of words or paths."""
    if re.fullmatch(r"[A-Za-z0-9_+=:,./@-]+", word):
        return word
    inner = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{inner}"'


def calendar_lines(every_min: int) -> list[str]:
    """Calendar events of systemd, which together come every so many minutes.

    Raises UsageError where no calendar has them: only what divides a day, and a week, comes at the same times always.
    """
    hours, minutes = divmod(every_min, 60)
    if every_min == WEEK_MIN:
        return ["Mon *-*-* 00:00:00"]
    if every_min > DAY_MIN or DAY_MIN % every_min:
        raise UsageError(_cannot(every_min))
    if every_min == DAY_MIN:
        return ["*-*-* 00:00:00"]
    if minutes == 0:
        return ["*-*-* *:00:00" if hours == 1 else f"*-*-* 00/{hours}:00:00"]
    if 60 % every_min == 0:
        return ["*-*-* *:*:00" if every_min == 1 else f"*-*-* *:00/{every_min}:00"]
    at: dict[int, list[int]] = {}  # minute of the hour -> hours
    for moment in range(0, DAY_MIN, every_min):
        at.setdefault(moment % 60, []).append(moment // 60)
    return [
        f"*-*-* {','.join(f'{hour:02d}' for hour in hours_of)}:{minute:02d}:00"
        for minute, hours_of in sorted(at.items())
    ]


def _cannot(every_min: int) -> str:
    possible = [n for n in range(1, DAY_MIN + 1) if DAY_MIN % n == 0] + [WEEK_MIN]
    below = max((n for n in possible if n < every_min), default=1)
    above = min((n for n in possible if n > every_min), default=WEEK_MIN)
    return (
        f"--every {interval_words(every_min * 60)}: a timer that makes up for missed runs goes by the calendar, in "
        f"what divides a day, or 7 d; the nearest are {interval_words(below * 60)} and {interval_words(above * 60)}"
    )


def _unit_lines(job: ScheduledJob) -> str:
    """The recordings may lie on a share; a store that is a URL is behind the network."""
    lines = [f"RequiresMountsFor={quoted(str(job.folder))}"]
    if job.db is None or "://" in job.db:
        lines += ["Wants=network-online.target", "After=network-online.target"]
    return "".join(f"{line}\n" for line in lines)


def _service_lines(job: ScheduledJob, user: str | None) -> str:
    lines = []
    if user is not None:
        if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", user):
            raise UsageError(f"--user {user!r} is no name of a user")
        lines.append(f"User={user}")
    if job.environment is not None:
        path = job.environment
        # systemd takes this path for a pattern, and without quotes.
        if path != path.strip() or not path.startswith("/") or set(path) & set("*?[\\"):
            raise UsageError(
                f"--environment {path!r}: write the file's absolute path, without * ? [ \\ and blanks at its end"
            )
        lines.append(f"EnvironmentFile={path.replace('%', '%%')}")
    if job.writable:
        lines.append(f"ReadWritePaths={' '.join(quoted(str(path)) for path in job.writable)}")
    return "".join(f"{line}\n" for line in lines)


def _uses_tmp(job: ScheduledJob) -> bool:
    """A private /tmp would hide what lies there."""
    paths = [job.folder, job.models, *job.writable, Path(job.environment or "/")]
    return any(path.is_relative_to(tmp) for path in paths for tmp in ("/tmp", "/var/tmp"))

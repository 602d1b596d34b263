"""What a run of `score` tells: its report, and the JSON document of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from acoustic_ad.jobs.fleet_report import FleetStatus, fleet_json
from acoustic_ad.jobs.notify import Notifications
from acoustic_ad.jobs.punctuality import Notice

# --exit-on WORD: the states for which the job exits 4.
EXIT_ON: Final = {"warning": frozenset({"warning", "alarm"}), "alarm": frozenset({"alarm"})}

# Failures of a machine's model: another run may mend them without the clip changing.
MODEL_CODES: Final = ("no_model", "bad_model")


@dataclass(frozen=True, slots=True)
class Failure:
    """A clip without a score."""

    clip_id: str
    machine: str
    code: str
    reason: str

    @property
    def as_json(self) -> dict[str, str]:
        """As the documents of `score` and `evaluate` list it."""
        return {"clip_id": self.clip_id, "code": self.code, "reason": self.reason}


@dataclass(slots=True)
class ScoreReport:
    """What became of a run."""

    run_id: int
    description: str
    counts: dict[str, int]
    failures: list[Failure]
    fleet: FleetStatus  # the machines of the folder
    ignored: dict[str, int] = field(default_factory=dict)
    exit_on: str | None = None  # a key of EXIT_ON
    other_model: Mapping[str, int] = field(default_factory=dict)  # machine -> clips that another of its models scored
    notifications: Notifications = field(default_factory=Notifications)
    notices: list[Notice] = field(default_factory=list)  # of the job and the models, not of the machines

    @property
    def exit_code(self) -> int:
        """4 where a machine is in a state that was asked for, else 3 where clips failed in this run, else 0.

        A sensor that broke, or a machine that was switched off, does not call off what was heard before; an operator
        who shelved the alarm does.
        """
        asked_for = EXIT_ON.get(self.exit_on or "", frozenset())
        if any(machine.heard in asked_for and not machine.shelved for machine in self.fleet.machines):
            return 4
        return 3 if self.failures else 0


def as_json(report: ScoreReport) -> dict[str, Any]:
    """The document of `score --json`."""
    return {
        "run_id": report.run_id,
        "recognised": report.description,
        "clips": report.counts,
        "ignored": report.ignored,
        "failures": [failure.as_json for failure in report.failures],
        "other_model": dict(report.other_model),
        "notifications": report.notifications.as_json(),
        "notices": [notice.as_json() for notice in report.notices],
        **fleet_json(report.fleet),
    }

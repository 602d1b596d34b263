"""What a run of `score` tells: its report, and the JSON documents of clips and machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from acoustic_ad.jobs.schema import MachineRow

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
    failures: list[Failure] = field(default_factory=list)
    machines: list[MachineRow] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    exit_on: str | None = None  # a key of EXIT_ON
    other_model: Mapping[str, int] = field(default_factory=dict)  # machine -> clips that another of its models scored

    @property
    def exit_code(self) -> int:
        """4 where a machine is in a state that was asked for, else 3 where clips failed in this run, else 0.

        A sensor that broke does not call off what was heard before.
        """
        asked_for = EXIT_ON.get(self.exit_on or "", frozenset())
        if any(_heard(machine) in asked_for for machine in self.machines):
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
        "machines": [machine_json(machine) for machine in report.machines],
    }


def machine_json(machine: MachineRow) -> dict[str, Any]:
    """A machine's health as JSON."""
    return {
        "machine": machine.machine,
        "state": machine.state,
        "heard": _heard(machine),
        "since": _iso(machine.since),
        "index": machine.index,
        "clips": machine.clips,
        "failed": machine.failed,
        "last_clip_at": _iso(machine.last_clip_at),
        "alarm": None,
        "stands_out": (machine.facts or {}).get("stands_out"),
    }


def _heard(machine: MachineRow) -> str:
    """The state by the scored clips alone."""
    return str((machine.facts or {}).get("heard") or machine.state)


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")

"""What a run of `score` tells: its report, and the JSON documents of clips and machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from acoustic_ad.jobs.schema import MachineRow

# --exit-on WORD: the states for which the job exits 4.
EXIT_ON: Final = {"warning": frozenset({"warning", "alarm"}), "alarm": frozenset({"alarm"})}


@dataclass(slots=True)
class ScoreReport:
    """What became of a run."""

    run_id: int
    description: str
    counts: dict[str, int]
    failures: list[dict[str, str]] = field(default_factory=list)
    machines: list[MachineRow] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    exit_on: str | None = None  # a key of EXIT_ON

    @property
    def exit_code(self) -> int:
        """4 where a machine is in a state that was asked for, else 3 where clips failed in this run, else 0."""
        asked_for = EXIT_ON.get(self.exit_on or "", frozenset())
        if any(machine.state in asked_for for machine in self.machines):
            return 4
        return 3 if self.failures else 0


def as_json(report: ScoreReport) -> dict[str, Any]:
    """The document of `score --json`."""
    return {
        "run_id": report.run_id,
        "recognised": report.description,
        "clips": report.counts,
        "ignored": report.ignored,
        "failures": report.failures,
        "machines": [machine_json(machine) for machine in report.machines],
    }


def machine_json(machine: MachineRow) -> dict[str, Any]:
    """A machine's health as JSON."""
    return {
        "machine": machine.machine,
        "state": machine.state,
        "since": _iso(machine.since),
        "index": machine.index,
        "clips": machine.clips,
        "last_clip_at": _iso(machine.last_clip_at),
        "alarm": None,
        "stands_out": (machine.facts or {}).get("stands_out"),
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")

"""A plant whose recordings are no sound: files, the rows that say they were scored, and a model that judged them.

Whatever is asked of health, alarms and events can be asked here without a second of audio.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from acoustic_ad.health.baseline import Baseline
from acoustic_ad.jobs.alarm_list import alarm_list, alarm_list_json
from acoustic_ad.jobs.baselines import NEWEST_CLIP_AT, baseline_of
from acoustic_ad.jobs.fleet_report import fleet_json, fleet_status, fleet_status_at
from acoustic_ad.jobs.score import ScoreOptions, ScoreReport, score
from acoustic_ad.jobs.store import ClipRow, FileFact, Store
from acoustic_ad.models.bundle import TrainingDetails
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.models.registry import Registry
from acoustic_ad.recipe import parse_recipe

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
EVERY = timedelta(minutes=10)
BAND = {"hz": 3400.0, "low_hz": 3200.0, "high_hz": 3600.0, "db": 9.0, "z": 6.0}


@functools.cache
def model(health: tuple[tuple[str, float], ...] = (), clips: int = 300) -> MachineModel:
    """A model of eight bands, calibrated on `clips` clips."""
    rng = np.random.default_rng(0)
    table = {"name": "plant", "features": {"patch_frames": 1}, "detector": {"kind": "mahalanobis"}}
    recipe = parse_recipe({**table, "health": dict(health)}, "plant")
    log_mels = [(-60 + 3 * rng.standard_normal((12, 8))).astype(np.float32) for _ in range(clips)]
    return MachineModel(recipe).fit(log_mels, [number // 10 for number in range(clips)])


@functools.cache
def score_of(z: float, baseline: Baseline) -> float:
    """The score whose z is this one."""
    low, high = 0.0, 1e6
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if baseline.z(middle) < z else (low, middle)
    return high


@dataclass
class Plant:
    """A folder of sound, its models and its store."""

    root: Path
    digests: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def sound(self) -> Path:
        return self.root / "sound"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def db(self) -> Path:
        return self.root / "plant.db"

    @property
    def where(self) -> tuple[str | Path, ...]:
        """The options that every command takes."""
        return ("--db", self.db, "--models", self.models)

    @property
    def score(self) -> tuple[str | Path, ...]:
        """The arguments of a run that finds nothing new to score, and brings health up to date."""
        return ("score", self.sound, *self.where, "--workers", "1")

    def copy(self, root: Path) -> Plant:
        """The same plant in another place."""
        shutil.copytree(self.root, root)
        # Copied files are new to the ledger; their times make them the old ones.
        own = Plant(root, dict(self.digests), dict(self.counts))
        with sqlite3.connect(own.db) as store:
            store.execute("UPDATE files SET root = ?, ctime_ns = 0", (str(own.sound),))
            store.execute("UPDATE runs SET root = ?", (str(own.sound),))
            store.execute("UPDATE clip_scores SET root = ?", (str(own.sound),))
        store.close()
        return own

    def tell(self) -> ScoreReport:
        """What `score` does, inside this process."""
        return score(ScoreOptions(self.sound, self.models, str(self.db), workers=1))

    def status(self) -> dict[str, Any]:
        """What `status --json` answers, by machine."""
        with Store.open(self.db, read_only=True) as store:
            document = fleet_json(fleet_status(store))
        return {machine["machine"]: machine for machine in document["machines"]}

    def status_at(self, time: str, machine: str = "fan") -> dict[str, Any]:
        """What `status --as-of TIME --json` answers of a machine."""
        with Store.open(self.db, read_only=True) as store:
            document = fleet_json(fleet_status_at(store, self.models, datetime.fromisoformat(time)))
        return {found["machine"]: found for found in document["machines"]}[machine]

    def alarms(self, **options: Any) -> list[dict[str, Any]]:
        """What `alarms list --json` answers."""
        with Store.open(self.db, read_only=True) as store:
            return alarm_list_json(alarm_list(store, **options))

    def add_machine(self, machine: str, newest: datetime | None = None, **health: float) -> None:
        """Train a machine, on clips of which the latest was recorded at `newest`."""
        trained = model(tuple(sorted(health.items())))
        extra = {} if newest is None else {NEWEST_CLIP_AT: newest.isoformat()}
        info = Registry(self.models).save(machine, trained, TrainingDetails(n_clips=300, extra=extra))
        self.digests[machine] = info.digest

    def add_clips(
        self,
        machine: str,
        zs: Sequence[float | str],
        *,
        begin: datetime | None = None,
        every: timedelta = EVERY,
        label: str = "unknown",
        order: Sequence[int] | None = None,
        ended: bool = False,
    ) -> list[datetime]:
        """Clips of a machine in the store, as a job leaves them that was killed before it told the machine's health.

        Each is a z, or a status (`off`, `sensor_fault`, `failed`). They follow those before, or begin at `begin`.
        """
        if machine not in self.digests:
            self.add_machine(machine)
        first = self.counts.get(machine, 0)
        begin = begin or BEGIN + first * every
        times = [begin + number * every for number in range(len(zs))]
        rows = [
            self._row(machine, z, at, first + number, label)
            for number, (z, at) in enumerate(zip(zs, times, strict=True))
        ]
        rows = [rows[number] for number in order or range(len(rows))]
        self.counts[machine] = first + len(zs)
        with Store.open(self.db) as store:
            run = store.begin_run(self.sound)
            facts = [FileFact.of(r.clip_id, machine, (self.sound / r.clip_id).stat(), r.sha256) for r in rows]
            store.commit(run, self.sound, rows, facts)
            if ended:
                store.end_run(run, {}, 0)
        return times

    def _row(self, machine: str, z: float | str, at: datetime, number: int, label: str) -> ClipRow:
        clip_id = f"{machine}/{at:%Y%m%dT%H%M%SZ}.wav"
        content = f"{machine} {number} {at}".encode()
        file = self.sound / clip_id
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        known: dict[str, Any] = {"recorded_at": at, "recorded_at_source": "name", "label": label}
        known |= {"sha256": hashlib.sha256(content).hexdigest(), "model": self.digests[machine]}
        if isinstance(z, str):
            reason = {"sensor_fault": "silent", "failed": "truncated"}.get(z)
            known["model"] = None if z == "failed" else known["model"]
            return ClipRow(clip_id, machine, score=None, p_value=None, status=z, reason=reason, **known)  # type: ignore[arg-type]
        calibration = model().calibration
        assert calibration is not None
        score = score_of(z, baseline())
        bands = (BAND,) if z > 2.5 else ()
        return ClipRow(
            clip_id, machine, score=score, p_value=calibration.p_value(score), status="scored", bands=bands,
            index=50.0, level_db=-28.0, **known,
        )  # fmt: skip


@functools.cache
def baseline() -> Baseline:
    """What the clips of every machine of a plant are held against."""
    calibration = model().calibration
    assert calibration is not None
    return baseline_of(calibration)


def normal(count: int, seed: int = 0) -> list[float]:
    """The z's of a healthy machine."""
    return [float(z) for z in np.round(np.random.default_rng(seed).standard_normal(count), 2)]


def faulty(count: int, z: float = 5.0) -> list[float]:
    """The z's of a machine that is far from well."""
    return [z] * count

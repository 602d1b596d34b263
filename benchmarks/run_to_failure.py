"""Machines that wear until they fail, heard through `acoustic-ad` day by day: how many days of warning does one get?

    python benchmarks/run_to_failure.py [--snrs-db -6 0 6] [--recipe dae] [--days 40] [--quick]

At each SNR the folder fills with the clips of a plant, one day after the other: a machine of each type that fails,
healthy ones beside them, one that stands still at night, and one whose microphone dies. The first days train; every
later day is one run of `acoustic-ad score`, as a timer would start it. All figures come from what the program says.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from acoustic_ad.cli import main as acoustic_ad
from acoustic_ad.sound.simulate import manifest_text, plan_run_to_failure, write_clips
from acoustic_ad.sound.simulated_files import PlannedClip

FAULT_OF: Final = {
    "fan": "bearing",
    "pump": "cavitation",
    "gearbox": "gear_tooth",
    "valve": "leak",
    "motor": "rub",
}
TRAIN, ONSET, FAILURE = 0.35, 0.5, 0.9  # shares of the whole time
SUCCESS: Final = (0, 3)


@dataclass(frozen=True, slots=True)
class Plant:
    """Machines, recorded at even intervals."""

    days: int
    clips_per_day: int
    duration_s: float
    types: tuple[str, ...]
    seed: int

    def clips(self, snr_db: float) -> list[PlannedClip]:
        """All clips of all machines, by time."""
        found: list[PlannedClip] = []
        for kind in self.types:
            wear = {
                "fault": FAULT_OF[kind],
                "onset_day": ONSET * self.days,
                "failure_day": FAILURE * self.days,
            }
            found += self._machine(f"{kind}/wears", snr_db, **wear)
            found += self._machine(f"{kind}/healthy", snr_db)
        found += self._machine(f"{self.types[0]}/rests", snr_db, off_nights=True)
        found += self._machine(f"{self.types[-1]}/deaf", snr_db, dying_microphone=True)
        return sorted(found, key=lambda clip: clip.recorded_at)

    def _machine(self, name: str, snr_db: float, **life: Any) -> list[PlannedClip]:
        return plan_run_to_failure(
            name,
            days=self.days,
            clips_per_day=self.clips_per_day,
            seed=self.seed,
            duration_s=self.duration_s,
            snr_db=snr_db,
            train_days=round(TRAIN * self.days),
            **life,
        )


def by_day(clips: Sequence[PlannedClip]) -> Iterator[list[PlannedClip]]:
    """Clips in the batches in which they arrive."""
    start = clips[0].recorded_at
    for _, batch in groupby(clips, key=lambda clip: (clip.recorded_at - start) // timedelta(days=1)):
        yield list(batch)


class Job:
    """The program, on one folder."""

    def __init__(self, root: Path) -> None:
        self.inbox, self.models, self.db = root / "inbox", root / "models", root / "plant.db"

    def run(self, *words: str) -> Any:
        """The document that a command prints; ends the benchmark where it failed.

        The program runs inside this process, with its own workers: Python need not load torch anew for every day.
        """
        out, err, code = io.StringIO(), io.StringIO(), 0
        words = ("acoustic-ad", *words, "--json")
        with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", list(words)):
            handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            try:
                acoustic_ad()
            except SystemExit as end:
                code = int(end.code or 0)
            finally:  # the program goes deaf to them when it ends
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        if code not in SUCCESS:
            raise SystemExit(f"{' '.join(words)}: exit {code}\n{err.getvalue()[-2000:]}")
        return json.loads(out.getvalue())

    def train(self, data: Path, recipe: str) -> None:
        """One model per machine."""
        self.run("train", str(data), "--models", str(self.models), "--recipe", recipe)

    def score(self, clips: Sequence[PlannedClip], so_far: Sequence[PlannedClip]) -> Any:
        """What the run says that follows the arrival of these clips."""
        for clip in clips:
            file = self.inbox / clip.path
            file.parent.mkdir(parents=True, exist_ok=True)
        write_clips(self.inbox.parent / "new", clips)
        for clip in clips:
            (self.inbox.parent / "new" / clip.path).replace(self.inbox / clip.path)
        for left in sorted((self.inbox.parent / "new").rglob("*"), reverse=True):
            left.unlink() if left.is_file() else left.rmdir()
        (self.inbox.parent / "new").rmdir()
        (self.inbox / "manifest.csv").write_text(manifest_text(so_far), encoding="utf-8")
        return self.run("score", str(self.inbox), "--models", str(self.models), "--db", str(self.db), "--settle", "0")

    def alarms(self) -> list[dict[str, Any]]:
        """Every warning and alarm that there was."""
        found = self.run("alarms", "list", "--db", str(self.db))
        return list(found["alarms"] if isinstance(found, dict) else found)


def live(plant: Plant, snr_db: float, recipe: str, root: Path) -> dict[str, Any]:
    """The plant's life at one SNR, as the program heard it."""
    clips = plant.clips(snr_db)
    train = [clip for clip in clips if clip.split == "train"]
    test = [clip for clip in clips if clip.split != "train"]
    job = Job(root)
    job.inbox.mkdir(parents=True)
    write_clips(root / "data", train)
    job.train(root / "data", recipe)
    days, so_far = [], []
    for batch in by_day(test):
        so_far += batch
        days.append((batch[-1].recorded_at, job.score(batch, so_far)))
        print(f"  {batch[-1].recorded_at:%Y-%m-%d}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    rows = job.run(
        "score", str(job.inbox), "--models", str(job.models), "--db", str(job.db), "--out", str(root / "rows.jsonl")
    )
    lines = [json.loads(line) for line in (root / "rows.jsonl").read_text().splitlines()]
    return {
        "days": days,
        "alarms": job.alarms(),
        "rows": lines,
        "last": rows,
        "start": clips[0].recorded_at,
        "clips": test,
    }


def table(plant: Plant, lives: dict[float, dict[str, Any]]) -> str:
    """In markdown: what became of each machine at each SNR."""
    lines = ["| | " + " | ".join(f"{snr:+g} dB" for snr in lives) + " |", "|---" * (len(lives) + 1) + "|"]
    for kind in plant.types:
        for level in ("warning", "alarm"):
            cells = [_days_ahead(plant, life, f"{kind}/wears", level) for life in lives.values()]
            lines.append(f"| {kind}, {FAULT_OF[kind].replace('_', ' ')}: {level} | " + " | ".join(cells) + " |")
    for what, cell in (("healthy machines: alarms", "alarm"), ("healthy machines: warnings", "warning")):
        cells = [
            str(sum(one["level"] == cell for one in life["alarms"] if _is_healthy(one))) for life in lives.values()
        ]
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    lines.append("| nights off: clips `off` | " + " | ".join(map(_nights, lives.values())) + " |")
    lines.append("| running clips called `off` | " + " | ".join(map(_wrongly_off, lives.values())) + " |")
    lines.append("| fading microphone: clips `sensor_fault` | " + " | ".join(map(_fading, lives.values())) + " |")
    lines.append("| dead microphone: clips `sensor_fault` | " + " | ".join(map(_deaf, lives.values())) + " |")
    lines.append("| its state at the end | " + " | ".join(_state(life) for life in lives.values()) + " |")
    return "\n".join(lines)


def _is_healthy(alarm: dict[str, Any]) -> bool:
    return not str(alarm["machine"]).endswith(("/wears", "/deaf"))


def _days_ahead(plant: Plant, life: dict[str, Any], machine: str, level: str) -> str:
    onset = life["start"] + timedelta(days=ONSET * plant.days)
    failure = life["start"] + timedelta(days=FAILURE * plant.days)
    levels = (level,) if level == "alarm" else ("warning", "alarm")
    raised = [
        datetime.fromisoformat(one["raised_at"].replace("Z", "+00:00"))
        for one in life["alarms"]
        if one["machine"] == machine and one["level"] in levels
    ]
    early = sum(at < onset for at in raised)
    first = min((at for at in raised if at >= onset), default=None)
    if first is None or first > failure:
        return "none" + (f", {early} before the onset" if early else "")
    days = (failure - first) / timedelta(days=1)
    return f"{days:.1f} days" + (f", {early} before the onset" if early else "")


def _statuses(life: dict[str, Any], wanted: Sequence[PlannedClip]) -> Counter[str]:
    paths = {clip.path for clip in wanted}
    return Counter(row["status"] for row in life["rows"] if row["clip_id"] in paths)


def _share(found: Counter[str], status: str) -> str:
    return f"{found[status]} of {sum(found.values())}"


def _nights(life: dict[str, Any]) -> str:
    return _share(_statuses(life, [clip for clip in life["clips"] if not clip.running]), "off")


def _wrongly_off(life: dict[str, Any]) -> str:
    return _share(_statuses(life, [clip for clip in life["clips"] if clip.running and clip.microphone == 1.0]), "off")


def _fading(life: dict[str, Any]) -> str:
    """Of a microphone that has lost a third of its way, and is not silent yet."""
    return _share(_statuses(life, [clip for clip in life["clips"] if 0.0 < clip.microphone < 0.7]), "sensor_fault")


def _deaf(life: dict[str, Any]) -> str:
    return _share(_statuses(life, [clip for clip in life["clips"] if clip.microphone == 0.0]), "sensor_fault")


def _state(life: dict[str, Any]) -> str:
    (machine,) = (one for one in life["last"]["machines"] if one["machine"].endswith("/deaf"))
    return str(machine["state"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snrs-db", nargs="+", type=float, default=[-6.0, 0.0, 6.0])
    parser.add_argument("--recipe", default="dae")
    parser.add_argument("--days", type=int, default=40)
    parser.add_argument("--clips-per-day", type=int, default=12)
    parser.add_argument("--duration-s", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=2027)
    parser.add_argument("--quick", action="store_true", help="one SNR, few days: shows only that it works")
    options = parser.parse_args()
    types = tuple(FAULT_OF)
    if options.quick:
        options.snrs_db, options.days, types = [6.0], 12, ("fan", "motor")
    plant = Plant(options.days, options.clips_per_day, options.duration_s, types, options.seed)
    lives = {}
    for snr_db in options.snrs_db:
        print(f"SNR {snr_db:+g} dB", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            lives[snr_db] = live(plant, snr_db, options.recipe, Path(folder))
        print(table(plant, {snr_db: lives[snr_db]}), file=sys.stderr, flush=True)
    print(table(plant, lives))
    print(
        f"\nDays before the failure at which the first warning (or alarm) after the onset was raised. Recipe "
        f"{options.recipe}, seed {plant.seed}; {plant.days} days of {plant.clips_per_day} clips of "
        f"{plant.duration_s:g} s, the first {TRAIN:.0%} to learn from; wear from day {ONSET * plant.days:g} to the "
        f"failure on day {FAILURE * plant.days:g}."
    )


if __name__ == "__main__":
    main()

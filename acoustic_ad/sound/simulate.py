"""Simulated machines: clips, a labelled fleet, and the life of one machine up to its failure.

Seeded and physical (`machine_sounds`, `machine_faults`, `simulated_clip`), so that a detector can be judged where the
truth is known to the sample. It stands in for no real machine: rank detectors with it, but quote no absolute numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NotRequired, TypedDict, Unpack

from acoustic_ad.errors import UsageError
from acoustic_ad.sound.machine_faults import FAULTS, faults_of
from acoustic_ad.sound.machine_sounds import MACHINE_TYPES, MachineSpec, draw_machine
from acoustic_ad.sound.simulated_clip import Session, draw_session, simulate_clip, simulate_parts
from acoustic_ad.sound.simulated_files import (
    DEFAULT_START,
    PlannedClip,
    Progress,
    Recording,
    check_recording,
    manifest_text,
    utc_start,
    write_clips,
)
from acoustic_ad.sound.simulated_run import plan_run_to_failure, severity_at, simulate_run_to_failure
from acoustic_ad.sound.synthesis import stream

__all__ = [
    "DEMO_FLEET",
    "FAULTS",
    "MACHINE_TYPES",
    "FleetOptions",
    "MachineSpec",
    "PlannedClip",
    "Session",
    "draw_machine",
    "draw_session",
    "faults_of",
    "manifest_text",
    "plan_fleet",
    "plan_run_to_failure",
    "severity_at",
    "simulate_clip",
    "simulate_fleet",
    "simulate_parts",
    "simulate_run_to_failure",
    "write_clips",
]

CLIP_EVERY: Final = timedelta(minutes=10)


class FleetOptions(TypedDict):
    """The arguments of `plan_fleet` and `simulate_fleet`."""

    train_clips: int
    test_normal: int
    test_anomaly: int
    duration_s: float
    seed: int
    types: NotRequired[Sequence[str]]
    machines_per_type: NotRequired[int]
    snr_db: NotRequired[float]
    sample_rate_hz: NotRequired[int]
    start: NotRequired[datetime]
    train_sessions: NotRequired[int]
    test_sessions: NotRequired[int]
    severities: NotRequired[Sequence[float]]


# The fleet of `acoustic-ad demo`; data_manifests/simulated_fleet.csv is its manifest.
DEMO_FLEET: Final[FleetOptions] = {
    "types": MACHINE_TYPES,
    "machines_per_type": 1,
    "train_clips": 40,
    "test_normal": 10,
    "test_anomaly": 10,
    "duration_s": 4.0,
    "snr_db": 6.0,
    "seed": 0,
}


def simulate_fleet(root: Path, *, on_progress: Progress | None = None, **options: Unpack[FleetOptions]) -> Path:
    """Write the fleet of `plan_fleet(**options)` below `root`, a new or empty folder; returns its manifest's path.

    `on_progress(done, total)` is called after each clip. Raises `UsageError` for impossible options or a folder that
    holds something, `AcousticADError` where the disk refuses.
    """
    return write_clips(root, plan_fleet(**options), on_progress)


def plan_fleet(
    *,
    types: Sequence[str] = MACHINE_TYPES,
    machines_per_type: int = 1,
    train_clips: int,
    test_normal: int,
    test_anomaly: int,
    duration_s: float,
    snr_db: float = 6.0,
    seed: int,
    sample_rate_hz: int = 16000,
    start: datetime = DEFAULT_START,
    train_sessions: int = 6,
    test_sessions: int = 3,
    severities: Sequence[float] = (0.3, 0.5, 0.7),
) -> list[PlannedClip]:
    """The clips of a labelled fleet, counts per machine; nothing is rendered, so this takes milliseconds.

    A session is one day. Training days hold normal clips only; the test days that follow hold normal and faulty clips
    alike, in random order, so that neither day nor hour gives a label away. Faults and severities take turns. There are
    fewer sessions where there are not enough clips. Raises `UsageError` for impossible options.
    """
    counts = {"train_clips": train_clips, "test_normal": test_normal, "test_anomaly": test_anomaly}
    if min(counts.values()) < 0 or min(machines_per_type, train_sessions, test_sessions) < 1:
        raise UsageError(f"counts of clips must be 0 or more ({counts}), those of machines and sessions 1 or more")
    if len(set(types)) != len(types) or not severities or not all(0 < s <= 1 for s in severities):
        raise UsageError(f"types {types} must differ from each other, severities {severities} lie above 0 and up to 1")
    recording = Recording(duration_s, sample_rate_hz, snr_db)
    clips: list[PlannedClip] = []
    for name in (f"{kind}/id_{number:02d}" for kind in types for number in range(machines_per_type)):
        spec = draw_machine(name, seed)
        normal: list[Kind] = [(None, 0.0)] * test_normal
        faulty = _faulty(spec, test_anomaly, severities)
        # Each test day holds both kinds, so there are never more days than clips of the rarer kind.
        test_days = min([test_sessions, *(len(kind) for kind in (normal, faulty) if kind)])
        days = [("train", day) for day in _deal([(None, 0.0)] * train_clips, [], train_sessions)]
        days += [("test", day) for day in _deal(normal, faulty, test_days)]
        for index, (split, day) in enumerate(days):
            clips += _day(spec, split, day, utc_start(start) + timedelta(days=index), recording, seed)
    return clips


Kind = tuple[str | None, float]  # fault and severity


def _faulty(spec: MachineSpec, count: int, severities: Sequence[float]) -> list[Kind]:
    """Faults and severities take turns; each round of faults begins one severity on, so that all pairs come up."""
    faults = faults_of(spec.type)
    rounds = [(i, i + i // len(faults)) for i in range(count)]
    return [(faults[i % len(faults)], severities[j % len(severities)]) for i, j in rounds]


def _deal(normal: list[Kind], faulty: list[Kind], days: int) -> list[list[Kind]]:
    """Deal clips to days like cards, normal and faulty ones apart, so that each day gets its share of both."""
    hands = [normal[i::days] + faulty[i::days] for i in range(days)]
    return [hand for hand in hands if hand]


def _day(
    spec: MachineSpec, split: str, kinds: list[Kind], begin: datetime, recording: Recording, seed: int
) -> Iterator[PlannedClip]:
    """One session: its clips in random order, at even intervals."""
    check_recording(recording, len(kinds))
    session = draw_session(f"{spec.machine}@{begin:%Y-%m-%d}", seed)
    every = min(CLIP_EVERY, timedelta(seconds=86_400 // len(kinds)))
    for index, drawn in enumerate(stream(seed, "order", session.name).permutation(len(kinds))):
        fault, severity = kinds[drawn]
        yield PlannedClip(
            spec=spec,
            session=session,
            split=split,
            recorded_at=begin + index * every,
            recording=recording,
            seed=seed,
            fault=fault,
            severity=severity,
        )

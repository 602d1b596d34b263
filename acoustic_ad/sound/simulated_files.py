"""Simulated clips on disk: what one planned clip is, its row in the manifest, and writing both."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import scipy.signal
import soundfile

from acoustic_ad.errors import AcousticADError, UsageError
from acoustic_ad.sound.machine_sounds import LOAD_RANGE, MachineSpec, draw_point
from acoustic_ad.sound.simulated_clip import Session, clip_samples, simulate_clip
from acoustic_ad.sound.synthesis import Samples, stream

MANIFEST_NAME: Final = "manifest.csv"
DEFAULT_START: Final = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
COLUMNS: Final = (
    "path", "machine", "split", "label", "recorded_at", "condition", "session", "fault", "severity", "truth_state"
)  # fmt: skip
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Recording:
    """How clips are recorded: their length, rate, and how far the healthy machine stands above the background."""

    duration_s: float
    sample_rate_hz: int = 16000
    snr_db: float = 6.0


@dataclass(frozen=True)
class PlannedClip:
    """All that decides one simulated clip, before any sample exists.

    `recorded_at` is in UTC. `microphone` is the health of the sensor, 1 for a good one, 0 for a dead one. `severity` is
    the state of the machine, heard or not.
    """

    spec: MachineSpec
    session: Session
    split: str
    recorded_at: datetime
    recording: Recording
    seed: int  # of the fleet; the clip's own draws come from it, the machine and the time
    fault: str | None = None
    severity: float = 0.0
    running: bool = True
    microphone: float = 1.0

    @property
    def path(self) -> str:
        """`<machine>/<time stamp>.wav`, with / as separator. The name gives neither label nor split away."""
        return f"{self.spec.machine}/{self.recorded_at:%Y%m%dT%H%M%SZ}.wav"

    @property
    def clip_seed(self) -> int:
        """The seed of this clip alone."""
        return int(stream(self.seed, "clip", self.path).integers(2**62))

    @property
    def truth_state(self) -> str:
        """What the clip is evidence of: `sensor_fault` before `off` before `running`."""
        return "sensor_fault" if self.microphone < 1 else "running" if self.running else "off"

    @property
    def label(self) -> str:
        """`normal` or `anomaly` for a running machine; `unknown` where the machine is off or the sensor broken."""
        return "unknown" if self.truth_state != "running" else "anomaly" if self.severity > 0 else "normal"

    @property
    def condition(self) -> str:
        """The operating condition: off, or the third of the load range in which the machine runs."""
        if not self.running:
            return "off"
        low, high = LOAD_RANGE
        share = (draw_point(self.spec, self.session.speed_ratio, self.clip_seed).load - low) / (high - low)
        return ("low_load", "mid_load", "high_load")[min(int(3 * share), 2)]

    @property
    def row(self) -> dict[str, str]:
        """The row of the manifest, by column."""
        return {
            "path": self.path,
            "machine": self.spec.machine,
            "split": self.split,
            "label": self.label,
            "recorded_at": self.recorded_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "condition": self.condition,
            "session": self.session.name,
            "fault": self.fault or "",
            "severity": f"{self.severity:.6g}",
            "truth_state": self.truth_state,
        }

    def render(self) -> Samples:
        """The sound, float32 [samples], within -1..1."""
        how = self.recording
        clip = simulate_clip(
            self.spec,
            duration_s=how.duration_s,
            sample_rate_hz=how.sample_rate_hz,
            snr_db=how.snr_db,
            session=self.session,
            fault=self.fault,
            severity=self.severity,
            running=self.running,
            seed=self.clip_seed,
        )
        return dying_microphone_sound(clip, self.microphone, how.sample_rate_hz)


def dying_microphone_sound(clip: Samples, health: float, sample_rate_hz: int) -> Samples:
    """What a failing microphone makes of a clip: as it is at health 1, ever fainter (to -40 dB) and duller (down to
    300 Hz) below, digital silence at 0."""
    if health >= 1:
        return clip
    if health <= 0:
        return np.zeros_like(clip)
    cutoff = 300.0 * (0.45 * sample_rate_hz / 300.0) ** health
    dull = scipy.signal.butter(2, cutoff, fs=sample_rate_hz, output="sos")
    faint = np.float32(10 ** (-40 * (1 - health) / 20))
    return np.asarray(scipy.signal.sosfilt(dull, clip), np.float32) * faint


def manifest_text(clips: Sequence[PlannedClip]) -> str:
    """The manifest of planned clips as CSV text. No audio is rendered."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(clip.row for clip in clips)
    return text.getvalue()


def write_clips(root: Path, clips: Sequence[PlannedClip], on_progress: Progress | None = None) -> Path:
    """Write every clip (WAV, 16 bit) and then `manifest.csv` below `root`; returns the manifest's path.

    `root` must be missing or empty: nothing that exists is ever overwritten or followed. The manifest comes last, so
    that a folder that has one is complete. The same clips give the same bytes. Raises `UsageError` for a folder that
    holds something and `AcousticADError` where the disk refuses.
    """
    for machine in {clip.spec.machine for clip in clips}:
        check_machine_name(machine)
    try:
        root.mkdir(parents=True, exist_ok=True)
        if any(root.iterdir()):
            raise UsageError(f"{root} is not empty: give a new folder, simulated sound never overwrites anything")
        for done, clip in enumerate(clips, 1):
            _write_new(root / clip.path, _wav(clip))
            if on_progress is not None:
                on_progress(done, len(clips))
        unfinished = root / f".{MANIFEST_NAME}.part"
        _write_new(unfinished, manifest_text(clips).encode())
        return unfinished.rename(root / MANIFEST_NAME)
    except OSError as error:
        raise AcousticADError(f"cannot write simulated sound to {root}: {error}") from error


def _wav(clip: PlannedClip) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, clip.render(), clip.recording.sample_rate_hz, subtype="PCM_16", format="WAV")
    return file.getvalue()


def _write_new(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:  # x: fails on anything that is there already, links included
        file.write(content)


def check_machine_name(machine: str) -> None:
    """`UsageError` for a machine name that would lead out of the folder or make a strange one."""
    parts = machine.split("/")
    odd = any(part in ("", ".", "..") or not part.isprintable() or set(part) & set("\\:") for part in parts)
    if odd or machine[0] in "=+-@'":  # the latter would be formulas in the manifest
        raise UsageError(f"machine name {machine!r} cannot be a folder: use a name such as fan/id_00")


def check_recording(recording: Recording, clips_per_day: int) -> None:
    """`UsageError` where clips are impossible in themselves or do not fit into a day."""
    clip_samples(recording.duration_s, recording.sample_rate_hz)
    if clips_per_day < 1 or 86_400 / clips_per_day < max(recording.duration_s, 1.0):
        raise UsageError(f"{clips_per_day} clips of {recording.duration_s} s do not fit into one day")


def utc_start(start: datetime) -> datetime:
    """`start` in UTC, whole seconds; `UsageError` where it says no time zone."""
    if start.tzinfo is None:
        raise UsageError(f"start {start.isoformat()} has no time zone: write for example {start.isoformat()}+00:00")
    return start.astimezone(UTC).replace(microsecond=0)

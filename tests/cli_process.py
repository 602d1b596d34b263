"""`acoustic-ad` as a process of its own, and sound so small that it is trained and scored in no time."""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile

from acoustic_ad.sound.simulate import simulate_clip

RATE_HZ = 16_000
# 76 bytes that make libsndfile loop for ever.
HANG = Path(__file__).resolve().parents[2] / "shared" / "data" / "hostile" / "hang.wav"
SPECIES = {"fan": "fan/id_00", "pump": "pump/id_00"}  # machine in the tests -> simulated machine

RECIPE = """
# Assumes nothing: for tests.
name = "tiny"
[features]
n_mels = 32
patch_frames = 1
[detector]
kind = "mahalanobis"
"""
DAE_RECIPE = """
# Assumes nothing: for tests.
name = "tiny_dae"
group = "machine_type"
[features]
n_mels = 32
patch_frames = 3
[detector]
kind = "dae"
steps = {steps}
hidden = 16
layers = 2
"""


@dataclass(frozen=True)
class Finished:
    """How a process ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line of an error."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert self.out == ""
        return lines[0]


def environment() -> dict[str, str]:
    keep = {name: value for name, value in os.environ.items() if not name.startswith("ACOUSTIC_AD_")}
    return keep | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def start(
    *args: str | Path, stdout: int | IO[Any] = subprocess.PIPE, before: Sequence[str] = (), **options: Any
) -> subprocess.Popen[bytes]:
    """Start `acoustic-ad` in a session of its own, so that it can be killed with all that it started.

    `before`: a command that runs it in its own place, such as what `shell` makes.
    """
    return subprocess.Popen(
        [*before, sys.executable, "-m", "acoustic_ad", *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment() | options.pop("env", {}),
        start_new_session=True,
        preexec_fn=_interruptible,
        **options,
    )


def shell(commands: str) -> list[str]:
    """Shell commands that come first in the same process, such as `ulimit -n 10`."""
    return ["sh", "-c", f'{commands} && exec "$@"', "sh"]


# Root may read and write everything; without these rights it is a user like others.
AS_USER = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
NOBODY_IS_REFUSED = bool(AS_USER) and shutil.which("setpriv") is None


def _interruptible() -> None:
    """A test run in the background of a shell is deaf to Ctrl-C, and so would be what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process: subprocess.Popen[bytes], timeout: float = 280) -> Finished:
    """Wait for the end, which must come without a traceback, whatever happens."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    said = err.decode("utf-8", "backslashreplace")
    assert "Traceback" not in said, said
    return Finished(process.returncode, (out or b"").decode(), said)


def acoustic_ad(*args: str | Path, code: int | None = 0, **options: Any) -> Finished:
    """Run `acoustic-ad ARGS` and check its exit code, unless it is None."""
    finished = finish(start(*args, **options))
    assert code is None or finished.code == code, (finished.code, finished.out, finished.err)
    return finished


def processes_of(session: int) -> list[int]:
    """The living processes of a session, by /proc (a zombie is not living)."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(folder.name))
    return found


def cpu_seconds_of(session: int) -> float:
    """Processor time that the living processes of a session have used: progress, however busy the machine is."""
    ticks = 0
    for number in processes_of(session):
        with suppress(OSError):
            fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def wait_until(condition: Callable[[], Any], seconds: float) -> bool:
    """Whether the condition comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


# --- sound -----------------------------------------------------------------------------------------------------------


@functools.cache
def samples(machine: str, number: int, duration_s: float = 1.0, fault: str | None = None) -> np.ndarray:
    """Clip `number` of a machine."""
    severity = 0.0 if fault is None else 1.0
    return simulate_clip(
        SPECIES[machine],
        duration_s=duration_s,
        seed=1000 + number,
        fault=fault,
        severity=severity,
        sample_rate_hz=RATE_HZ,
    )


def encoded(sound: np.ndarray, kind: str = "WAV", subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, RATE_HZ, format=kind, subtype=subtype)
    return file.getvalue()


def wav(machine: str, number: int, duration_s: float = 1.0, fault: str | None = None) -> bytes:
    return encoded(samples(machine, number, duration_s, fault))


def clip_name(number: int) -> str:
    """With a time stamp, so that `recorded_at` does not depend on when a test runs."""
    return f"20260105T{8 + number // 60:02d}{number % 60:02d}00Z.wav"


def write_clips(folder: Path, machine: str, numbers: Iterable[int], duration_s: float = 1.0) -> list[Path]:
    """Clips of a machine, straight into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / clip_name(number) for number in numbers]
    for file, number in zip(files, numbers, strict=True):
        file.write_bytes(wav(machine, number, duration_s))
    return files


def write_manifest(
    root: Path, rows: Sequence[Sequence[str]], columns: str = "path,machine,split,label,session"
) -> Path:
    file = root / "manifest.csv"
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([columns.split(","), *rows])
    return file


# --- answers ---------------------------------------------------------------------------------------------------------


def rows_of(file: Path) -> list[dict[str, str]]:
    """The rows of --out FILE.csv."""
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def verdicts(file: Path) -> dict[str, tuple[str, ...]]:
    """sha256 -> what the model said, digit for digit, of the clips in --out FILE.csv that were scored."""
    columns = ("model", "score", "p_value", "index", "bands", "duration_s", "level_db")
    return {row["sha256"]: tuple(row[name] for name in columns) for row in rows_of(file) if row["status"] == "scored"}

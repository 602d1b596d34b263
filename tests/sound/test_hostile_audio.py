"""Broken, unfinished and hostile files: each ends in samples or in a documented `ClipError`, and nothing hangs."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hostile_files import FULL, HANG_BYTES, MATRIX, encoded, flac_total, float_wav, info_list, mutated, wav

from acoustic_ad.errors import CLIP_CODES, SENSOR_CODES, ClipError
from acoustic_ad.sound.audio import SensorCheck, check_header, probe, read_clip

REPO = Path(__file__).parents[2]
HANG = REPO.parent / "shared" / "data" / "hostile" / "hang.wav"


def outcome(path: Path) -> str:
    """`ok`, or the code of what went wrong. Whatever else is raised fails the test, as it should."""
    sensor = SensorCheck()
    try:
        samples = read_clip(path, sample_rate_hz=16_000, sensor=sensor)
    except ClipError as error:
        assert len(error.reason) > 3
        return error.code
    assert np.isfinite(samples).all()
    fault = sensor.fault()
    return fault.code if fault else "ok"


@pytest.mark.parametrize("name", MATRIX)
def test_input_matrix(tmp_path: Path, name: str) -> None:
    make, expected = MATRIX[name]
    path = tmp_path / "clip.wav"
    path.write_bytes(make())
    if name.startswith("hang"):
        # Never let libsndfile see it from here: a regression would hang the test run beyond any time-out.
        with pytest.raises(ClipError) as caught:
            check_header(path)
        assert caught.value.code == expected
    else:
        assert outcome(path) == expected


def test_open_length_is_told(tmp_path: Path) -> None:
    """Whether such a file still grows is for the job to find out."""
    path = tmp_path / "clip"
    for data, expected in ((wav(), False), (wav(data_size=FULL, riff_size=FULL), True), (flac_total(0), True)):
        path.write_bytes(data)
        assert probe(path).open_ended is expected
        assert 0 < probe(path).duration_s < 10


def test_ogg_that_misses_its_last_page(tmp_path: Path) -> None:
    """Cut between two pages every page is whole, as in a file that is still being written."""
    data = encoded("OGG", "VORBIS", 200_000)
    path = tmp_path / "clip.ogg"
    path.write_bytes(data[: data.rfind(b"OggS")])
    assert outcome(path) == "truncated"
    path.write_bytes(data)
    assert outcome(path) == "ok"


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "W64", "RF64", "FLAC", "CAF", "AU"])
def test_every_prefix_of_a_file_is_refused(tmp_path: Path, kind: str) -> None:
    """A file that is being copied is never taken for a whole one; from its first four bytes on it is `truncated`."""
    path = tmp_path / "clip"
    data = encoded(kind, "PCM_16", 100)
    for length in (*range(min(len(data), 300)), *range(300, len(data), 61), len(data) - 1):
        path.write_bytes(data[:length])
        assert outcome(path) == ("truncated" if length >= 4 else "unsupported" if length else "empty"), length


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    for path in (tmp_path, tmp_path / "missing.wav", tmp_path / "fifo.wav", tmp_path / "loop.wav", Path("/dev/null")):
        for look in (probe, outcome):
            try:
                code = look(path)
            except ClipError as error:
                code = error.code
            assert code == "unreadable", path
    with pytest.raises(ClipError):
        probe(tmp_path / "nul\0.wav")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(wav())
    path.chmod(0)
    assert outcome(path) == "unreadable"


def test_probe_finds_what_the_header_shows(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    for name in ("empty file", "header only", "cut in the samples", "0 Hz", "65 channels", "text named wav"):
        make, expected = MATRIX[name]
        path.write_bytes(make())
        with pytest.raises(ClipError) as caught:
            probe(path)
        assert caught.value.code == expected


def test_not_finite_names_the_sample(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(float_wav(math.nan))
    with pytest.raises(ClipError, match="sample 2000 is nan"):
        read_clip(path, sample_rate_hz=16_000)


def test_nan_in_a_channel_that_is_not_used(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).standard_normal((1_000, 2)).astype(np.float32)
    samples[500, 1] = np.nan
    path = tmp_path / "clip.wav"
    sf.write(path, samples, 16_000, subtype="FLOAT")
    assert len(read_clip(path, sample_rate_hz=16_000, channel=0)) == 1_000
    assert outcome(path) == "not_finite"


def run_limited(code: str, *arguments: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        timeout=timeout_s,
        capture_output=True,
        text=True,
        check=False,
    )


PROBE_ONE = """
import sys
from pathlib import Path
from acoustic_ad.errors import ClipError
from acoustic_ad.sound.audio import probe
try:
    probe(Path(sys.argv[1]))
except ClipError as error:
    print(error.code)
"""


def test_the_file_that_hangs_libsndfile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hang.wav"
    path.write_bytes(HANG_BYTES)
    answer = run_limited(PROBE_ONE, str(path))
    assert answer.stdout.strip() == "bad_header", answer.stderr


@pytest.mark.skipif(not HANG.is_file(), reason=f"no hostile file {HANG}")
def test_the_hostile_file_on_disk_is_refused() -> None:
    assert HANG.read_bytes() == HANG_BYTES
    answer = run_limited(PROBE_ONE, str(HANG))
    assert answer.stdout.strip() == "bad_header", answer.stderr


# --- mutations: decoded by a process that can be killed, which notes each file before it opens it ---

DECODE_ALL = """
import json, sys
from pathlib import Path
from acoustic_ad.errors import ClipError
from acoustic_ad.sound.audio import SensorCheck, read_clip
for path in sorted(Path(sys.argv[1]).iterdir()):
    print(json.dumps(["start", path.name]), flush=True)
    sensor = SensorCheck()
    try:
        samples = read_clip(path, sample_rate_hz=8_000, sensor=sensor)
        fault = sensor.fault()
        code = fault.code if fault else "ok"
    except ClipError as error:
        code = error.code
    print(json.dumps(["end", path.name, code]), flush=True)
"""


def test_mutated_files_end_in_samples_or_a_code(tmp_path: Path) -> None:
    bases = [
        wav(before=info_list(4)),
        encoded("WAV", "FLOAT", 1_000, 2),
        encoded("WAV", "IMA_ADPCM", 1_000),
        encoded("FLAC", "PCM_16", 1_000, 2),
        encoded("OGG", "VORBIS", 1_000),
        encoded("AIFF", "PCM_16", 1_000, 2),
    ]
    rng = np.random.default_rng(11)
    folder = tmp_path / "mutated"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number:04d}.wav").write_bytes(mutated(rng, bases[number % len(bases)]))
    started = time.monotonic()
    answer = run_limited(DECODE_ALL, str(folder), timeout_s=60.0)
    events = [json.loads(line) for line in answer.stdout.splitlines()]
    assert answer.returncode == 0, (events[-1:], answer.stderr, time.monotonic() - started)
    codes = {event[1]: event[2] for event in events if event[0] == "end"}
    assert len(codes) == 300
    assert set(codes.values()) <= {"ok", *CLIP_CODES, *SENSOR_CODES}
    # The mutations reach both sides: not all files are refused at once, nor do all pass.
    assert {"ok", "truncated", "bad_header"} <= set(codes.values())

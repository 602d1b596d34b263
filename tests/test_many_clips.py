"""Gates 4 and 5, and what a run without work costs: thousands of clips, of which one is bad, or all are known."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from cli_process import (
    DAE_RECIPE,
    HANG,
    RATE_HZ,
    acoustic_ad,
    clip_name,
    finish,
    rows_of,
    start,
    verdicts,
    wav,
    write_clips,
)
from many_clips import note_as_scored, write_many

from acoustic_ad.jobs.score import ScoreOptions, score

# Seconds that a run over 100,000 known clips may take.
NOOP_S = 10.0


def check_one_bad(root: Path, models: Path, count: int) -> None:
    """Score `count` clips of which one is bad, then the others alone: bit for bit the same."""
    write_many(root / "sound", count)
    bad = root / "sound" / "fan" / f"{count // 2:06d}.wav"
    bad.write_bytes(HANG.read_bytes() if HANG.exists() else bad.read_bytes()[:-2_000])
    options = ScoreOptions(root / "sound", models, str(root / "with.db"), workers=2, settle_s=0.0)
    report = score(replace(options, out=root / "with.csv"))
    assert (report.counts["scored"], report.counts["failed"]) == (count - 1, 1)
    assert [failure.clip_id for failure in report.failures] == [f"fan/{bad.name}"]
    bad.unlink()
    alone = score(replace(options, db=str(root / "without.db"), out=root / "without.csv"))
    assert alone.counts["scored"] == count - 1
    expected = verdicts(root / "without.csv")
    assert len(expected) == count - 1
    assert verdicts(root / "with.csv") == expected


def test_one_bad_file_among_many(models, tmp_path):
    check_one_bad(tmp_path, models, 200)


@pytest.mark.soak
@pytest.mark.timeout(14_400)
def test_one_bad_file_among_10_000(models, tmp_path):
    check_one_bad(tmp_path, models, 10_000)


@pytest.mark.parametrize("kind", ["network", "statistics"])
def test_scores_do_not_move(kind, models, recordings, tmp_path):
    """Not with the number of workers, the order of the files, the clips beside, or FLAC for WAV."""
    if kind == "network":
        models, recipe = tmp_path / "models", tmp_path / "tiny_dae.toml"
        recipe.write_text(DAE_RECIPE.format(steps=20))
        acoustic_ad("train", recordings, "--recipe", recipe, "--models", models, "--workers", "1")
    clips = range(100, 112)
    found = {}
    for name, workers in (("plain", 1), ("workers", 2), ("reversed", 1), ("half", 1), ("flac", 1)):
        fan = tmp_path / name / "fan"
        files = write_clips(fan, "fan", clips)
        renamed = dict(zip(files, (clip_name(number) for number in clips), strict=True))
        if name == "reversed":
            for file, other in zip(files, reversed(clips), strict=True):
                file.write_bytes(wav("fan", other))
                renamed[file] = clip_name(other)
        if name == "half":
            for file in files[::2]:
                file.unlink()
        if name == "flac":
            for file in files:
                sound, _ = soundfile.read(file, dtype="int16")
                soundfile.write(file.with_suffix(".flac"), sound, RATE_HZ)
                renamed[file.with_suffix(".flac")] = renamed[file]
                file.unlink()
        out = tmp_path / f"{name}.csv"
        score(ScoreOptions(tmp_path / name, models, str(tmp_path / f"{name}.db"), workers=workers, out=out))
        names = {f"fan/{file.name}": clip for file, clip in renamed.items()}
        found[name] = {names[row["clip_id"]]: (row["score"], row["p_value"], row["index"]) for row in rows_of(out)}
    assert len(found["plain"]) == len(clips) == 2 * len(found["half"])
    assert all(found["plain"][clip] == verdict for clip, verdict in found["half"].items())
    # Digit for digit, which is more than the 1e-6 that is asked for.
    assert found["plain"] == found["workers"] == found["reversed"] == found["flac"]
    assert len({score for score, _, _ in found["plain"].values()}) == len(clips)


def known_clips(root: Path, models: Path, count: int) -> tuple[str | Path, ...]:
    """A folder of clips, all of which the store knows; the call that scores it."""
    write_many(root / "sound", count, ("fan", "pump"))
    assert note_as_scored(root / "sound", models, root / "x.db") == count
    return "score", root / "sound", "--models", models, "--db", root / "x.db", "--json"


def test_known_clips_are_known(models, tmp_path):
    call = known_clips(tmp_path, models, 300)
    for _ in range(2):
        counts = acoustic_ad(*call).json["clips"]
        assert counts["already_scored"] == counts["found"] == 300


@pytest.mark.soak
@pytest.mark.timeout(14_400)
def test_a_run_over_100_000_known_clips(models, tmp_path):
    """The first one tells the machines' health, which is a job of its own; the others have nothing to do."""
    call = known_clips(tmp_path, models, 100_000)
    took = []
    for _ in range(3):
        begun = time.monotonic()
        counts = finish(start(*call), timeout=3_000).json["clips"]
        took.append(time.monotonic() - begun)
        assert counts["already_scored"] == counts["found"] == 100_000
    print(f"100,000 known clips: first {took[0]:.1f} s, then {took[1]:.1f} and {took[2]:.1f} s")
    assert min(took[1:]) < NOOP_S

"""Gate 2: mutated files through the real `acoustic-ad score`: no crash, no hang, one row with a reason for each."""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from cli_process import finish, rows_of, start
from hostile_files import encoded, info_list, mutated, wav

from acoustic_ad.errors import CLIP_CODES, SENSOR_CODES

LONG_AGO = 1_700_000_000.0
FOLDER_OF = 5_000  # files a run, so that the soak needs no more disk than that
# Long enough for a patch; a name of the kind that it was.
BASES = {
    "wav": [wav(before=info_list(4)), encoded("WAV", "FLOAT", 1_000, 2), encoded("WAV", "IMA_ADPCM", 1_000)],
    "flac": [encoded("FLAC", "PCM_16", 1_000, 2), encoded("FLAC", "PCM_24", 1_500)],
    "ogg": [encoded("OGG", "VORBIS", 1_000), encoded("OGG", "OPUS", 2_000)],
    "aiff": [encoded("AIFF", "PCM_16", 1_000, 2), encoded("AIFF", "DOUBLE", 1_000)],
}


def write_mutations(folder: Path, count: int, seed: int) -> set[str]:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    names = set()
    for number in range(count):
        kind = list(BASES)[number % len(BASES)]
        file = folder / f"{number:06d}.{kind}"
        file.write_bytes(mutated(rng, BASES[kind][number // len(BASES) % len(BASES[kind])]))
        os.utime(file, (LONG_AGO, LONG_AGO))
        names.add(f"fan/{file.name}")
    return names


def score_mutations(root: Path, models: Path, count: int, seed: int, workers: int = 2) -> Counter[str]:
    """One run over `count` files. Returns how many ended with which reason; "" is scored."""
    names = write_mutations(root / "sound" / "fan", count, seed)
    out = root / "rows.csv"
    arguments = ("--models", models, "--db", root / "x.db", "--out", out, "--workers", str(workers))
    # However many hang, each costs its 5 s once; more than this is a job that hangs.
    job = start("score", root / "sound", *arguments, "--clip-timeout", "5", "--json")
    ended = finish(job, timeout=120 + count / 2)
    assert ended.code in (0, 3), ended.err[-2_000:]
    document, rows = json.loads(ended.out), rows_of(out)
    counts = document["clips"]
    assert counts["found"] == count == sum(counts.values()) - count
    assert counts["deferred"] == 0
    # Mutations may come out the same: then one row has both names.
    told = [name for row in rows for name in (row["clip_id"], *json.loads(row["also_known_as"]))]
    assert len(told) == len(set(told)) == count
    assert set(told) == names
    for row in rows:
        check_row(row)
    with sqlite3.connect(root / "x.db") as store:
        assert store.execute("pragma integrity_check").fetchone() == ("ok",)
    return Counter(row["reason"] for row in rows)


def check_row(row: dict[str, str]) -> None:
    if row["status"] == "scored":
        assert not row["reason"] and math.isfinite(float(row["score"])) and 0 < float(row["p_value"]) <= 1
    elif row["status"] == "failed":
        assert row["reason"] in CLIP_CODES and row["detail"] and not row["score"]
    else:
        assert row["status"] in ("sensor_fault", "off")
        assert row["status"] == "off" or row["reason"] in SENSOR_CODES


def test_mutated_files_through_score(models, tmp_path):
    reasons = score_mutations(tmp_path, models, 300, seed=5)
    # The mutations reach both sides, and none costs a worker.
    assert {"", "truncated", "bad_header"} <= reasons.keys()
    assert not reasons.keys() & {"worker_died", "out_of_memory", "decode_timeout"}


@pytest.mark.soak
@pytest.mark.timeout(14_400)
def test_100_000_mutated_files_through_score(models, tmp_path):
    total: Counter[str] = Counter()
    for seed in range(int(os.environ.get("ACOUSTIC_AD_MUTATIONS", "100000")) // FOLDER_OF):
        root = tmp_path / str(seed)
        total += score_mutations(root, models, FOLDER_OF, seed=100 + seed, workers=1)
        print(seed, dict(total), flush=True)
        for file in (root / "sound" / "fan").iterdir():
            file.unlink()
    assert not total.keys() & {"worker_died", "out_of_memory", "decode_timeout"}

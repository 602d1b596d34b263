"""Scores do not move with the number of workers, the order of files, what else is in the folder, or WAV against FLAC.

By a dense and a convolutional network, in either runtime: these are what could round differently beside other clips.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from cli_process import RATE_HZ, acoustic_ad, encoded, rows_of, samples

RECIPE = """
# Assumes nothing: for tests.
name = "tiny_networks"
[features]
n_mels = 32
[training]
folds = 2
[[members]]
name = "dense"
features = { n_mels = 32, patch_frames = 3 }
detector = { kind = "dae", steps = 20, hidden = 16, layers = 2 }
[[members]]
name = "convolutional"
features = { n_mels = 32, patch_frames = 8, patch_hop_frames = 4 }
detector = { kind = "vae", net = "conv", steps = 10, width = 4, latent = 4 }
"""
# The shortest have two patches of the one network and one of the other: a handful, where kernels are others.
LENGTHS_S = (0.3, 0.35, 0.5, 1.0, 1.0, 2.0, 9.0)


@pytest.fixture(scope="module")
def networks(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("networks")
    (root / "networks.toml").write_text(RECIPE)
    models = root / "models"
    acoustic_ad("train", recordings, "--recipe", root / "networks.toml", "--models", models, "--workers", "2")
    return models


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_every_score_is_the_same_to_the_last_bit(runtime: str, networks: Path, tmp_path: Path) -> None:
    # As whole numbers: from floats, libsndfile rounds to 16 bits in one way for WAV, in another for FLAC.
    clips = [
        np.round(32_767 * samples("fan", 200 + number, max(length, 1.0))[: int(length * RATE_HZ)]).astype(np.int16)
        for number, length in enumerate(LENGTHS_S)
    ]
    said = ("score", "p_value", "index", "bands", "duration_s", "level_db")

    def scores(kind: str, files: list[tuple[int, str]], workers: int) -> dict[tuple[int, str], tuple[str, ...]]:
        """What is said of each clip (its number, its format), of names that are sorted as `files` is."""
        folder, out = tmp_path / kind / "fan", tmp_path / f"{kind}.csv"
        folder.mkdir(parents=True)
        for place, (number, suffix) in enumerate(files):
            (folder / f"{place:02d}.{suffix}").write_bytes(encoded(clips[number], suffix.upper()))
        options = ("--models", networks, "--db", tmp_path / f"{kind}.db", "--out", out, "--settle", "0")
        acoustic_ad("score", folder.parent, *options, "--workers", str(workers), "--runtime", runtime)
        rows = {row["clip_id"]: tuple(row[name] for name in said) for row in rows_of(out)}
        return {(number, suffix): rows[f"fan/{place:02d}.{suffix}"] for place, (number, suffix) in enumerate(files)}

    numbers = range(len(clips))
    alone = scores("one worker", [(number, "wav") for number in numbers], 1)
    assert all(row[0] for row in alone.values()) and len({row[0] for row in alone.values()}) == len(clips)
    both = [(number, suffix) for number in numbers for suffix in ("wav", "flac")]
    mixed = scores("two workers", random.Random(1).sample(both, len(both)), 2)
    assert mixed == {(number, suffix): alone[number, "wav"] for number, suffix in both}

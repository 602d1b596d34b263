"""The README's own words: its commands run, its files exist, its table of exit codes is the program's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_process import acoustic_ad

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"^(acoustic-ad [a-z].*?)(?:\s+#.*)?$", README, flags=re.MULTILINE)))


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 4


def test_the_commands_for_ones_own_folder(recordings: Path, recipe: Path, tmp_path: Path) -> None:
    """In the README's order and with its options, on folders called as they are there; a smaller recipe saves time."""
    for name in ("known-good", "incoming", "labelled"):
        (tmp_path / name).symlink_to(recordings)
    block = re.search(r"The same on your own recordings.*?```sh\n(.*?)```", README, flags=re.DOTALL)
    assert block is not None
    lines = [line.split("#")[0].split() for line in block[1].splitlines()]
    assert [words[1] for words in lines] == ["train", "score", "status", "models", "evaluate"]
    for words in lines:
        extra = ["--recipe", recipe] if words[1] == "train" else []
        run = acoustic_ad(*words[1:], *extra, cwd=tmp_path)
        assert run.code == 0, (words, run.err)
        assert run.out
    assert (tmp_path / "rows.csv").read_text().count("\n") == 45


def test_the_python_example() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    log_mels = [rng.normal(-60, 5, (60, 16)).astype(np.float32) for _ in range(20)]
    code = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert code is not None
    names = {"log_mels": log_mels, "log_mel": log_mels[0] + 12.0}
    exec(code[1].replace('"dae"', '"mahalanobis"'), names)
    verdict = names["verdict"]
    assert verdict.score > 1 and 0 < verdict.p_value <= 1 and verdict.bands.shape == (16,)  # type: ignore[attr-defined]


@pytest.mark.parametrize("file", sorted(set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README))))
def test_links_lead_somewhere(file: str) -> None:
    assert (ROOT / file).exists()


def test_the_drawing_names_real_files() -> None:
    drawing = README.split("## How it works")[1].split("```")[1]
    names = set(re.findall(r"\b[a-z_]+\.py\b", drawing))
    assert len(names) > 10
    assert names <= {file.name for file in (ROOT / "acoustic_ad").rglob("*.py")}


def test_the_exit_codes_are_in_the_help() -> None:
    shown = re.sub(r"\W+", " ", acoustic_ad("score", "--help").out)
    for code in re.findall(r"^\| (\d) \| ", README, flags=re.MULTILINE):
        assert f" {code} " in shown
    assert "make demo" in README and "make test" in README

"""The recipes that are installed with the program."""

from __future__ import annotations

from importlib import resources
from itertools import takewhile
from pathlib import Path


def recipe_files() -> dict[str, Path]:
    """The installed recipes: name -> file."""
    package = Path(str(resources.files("acoustic_ad")))
    # Installed, the recipes travel inside the package; in a checkout they stand beside it.
    folder = package / "recipes" if (package / "recipes").is_dir() else package.parent / "recipes"
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def assumption(file: Path) -> str:
    """What a recipe assumes: the comment that it opens with, as one line."""
    lines = takewhile(lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines())
    return " ".join(line.lstrip("# ").strip() for line in lines)

"""A page that `acoustic-ad report` wrote, read as a browser reads it."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from cli_process import Finished
from plant import Plant, faulty, normal
from typer.testing import CliRunner

from acoustic_ad.cli import app

HOSTILE = "<img src=x onerror=alert(1)>&\"'"
HOSTILE_NOTE = "</script><script>alert(2)</script>"
# Elements without an end, by the HTML standard.
VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """The elements of a page, and the data that it shows. Raises ValueError where an end does not fit its beginning."""

    def __init__(self, file: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.text = file.read_bytes().decode("utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.data: dict[str, Any] = {}
        self.feed(self.text)
        self.close()
        if self.open:
            raise ValueError(f"never closed: {self.open}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            raise ValueError(f"line {self.getpos()[0]}: </{tag}> closes something else")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == ("script", {"type": "application/json", "id": "data"}) and data.strip():
            self.data = json.loads(data)

    @property
    def names(self) -> list[str]:
        return [row["name"] for row in self.data["rows"]]


def in_process(*args: str | Path, code: int = 0) -> Finished:
    """Run `acoustic-ad ARGS` inside this process, which has imported everything already."""
    found = CliRunner().invoke(app, [str(one) for one in args])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exc_info
    assert found.exit_code == code, (found.exit_code, found.stdout, found.stderr)
    return Finished(found.exit_code, found.stdout, found.stderr)


def hostile_plant(root: Path, db: Path, models: Path) -> Plant:
    """The recordings' two machines in a copy of their store, and one whose name, notes and comments are markup."""
    plant = Plant(root)
    shutil.copy(db, plant.db)
    shutil.copytree(models, plant.models)
    plant.add_clips(HOSTILE, normal(150) + faulty(30))
    plant.tell()
    told = in_process("alarms", "list", "--db", plant.db, "--json").json
    (alarm,) = [one["id"] for one in told if one["machine"] == HOSTILE and one["level"] == "alarm"]
    in_process("alarms", "ack", str(alarm), "--by", HOSTILE, "--comment", HOSTILE_NOTE, "--db", plant.db)
    event = ("events", "add", HOSTILE, "confirmed-fault", "--at", "2026-01-06T02:00Z")
    in_process(*event, "--note", HOSTILE_NOTE, "--by", HOSTILE, "--db", plant.db, "--models", plant.models)
    return plant

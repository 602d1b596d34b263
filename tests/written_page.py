"""A page that `acoustic-ad report` wrote, read as a browser reads it."""

from __future__ import annotations

import json
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from cli_process import RECIPE, Finished, clip_name, samples, wav, write_clips, write_manifest
from plant import Plant, faulty, normal
from typer.testing import CliRunner

from acoustic_ad.cli import app
from acoustic_ad.jobs.clip_work import feature_spec
from acoustic_ad.models.bundle import TrainingDetails
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.models.registry import Registry
from acoustic_ad.recipe import parse_recipe
from acoustic_ad.sound.features import LogMel

HOSTILE = "<img src=x onerror=alert(1)>&\"'"
HOSTILE_NOTE = "</script><script>alert(2)</script>"
LONG = "unbroken" * 20
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


def hostile_plant(root: Path) -> Plant:
    """Fan and pump with sound, the pump failing; beside them machines with names and notes that are not to trust."""
    plant = Plant(root)
    rows = []
    for machine, fault in (("fan", None), ("pump", "cavitation")):
        write_clips(plant.sound / machine, machine, range(22))
        for number in range(18, 22):
            (plant.sound / machine / clip_name(number)).write_bytes(wav(machine, number, fault=fault))
        labels = ["normal"] * 18 + (["anomaly"] * 4 if fault else ["normal"] * 4)
        rows += [(f"{machine}/{clip_name(n)}", machine, "test", label) for n, label in enumerate(labels)]
        _learn(plant, machine)
    for machine, heard in ((HOSTILE, normal(150) + faulty(30)), (LONG, [*normal(40), "sensor_fault"])):
        plant.add_clips(machine, heard)
        rows += [(f"{machine}/{file.name}", machine, "test", "") for file in (plant.sound / machine).iterdir()]
    write_manifest(plant.sound, rows, "path,machine,split,label")
    plant.tell()
    (alarm,) = [one["id"] for one in plant.alarms() if one["machine"] == HOSTILE and one["level"] == "alarm"]
    in_process("alarms", "ack", str(alarm), "--by", HOSTILE, "--comment", HOSTILE_NOTE, "--db", plant.db)
    event = ("events", "add", HOSTILE, "confirmed-fault", "--at", "2026-01-06T02:00Z")
    in_process(*event, "--note", HOSTILE_NOTE, "--by", HOSTILE, "--db", plant.db, "--models", plant.models)
    return plant


def _learn(plant: Plant, machine: str) -> None:
    """A model of a machine's first clips."""
    recipe = parse_recipe(tomllib.loads(RECIPE), "tiny")
    spec = feature_spec(recipe)
    log_mels = [LogMel(spec)(samples(machine, number)) for number in range(14)]
    learnt = MachineModel(recipe).fit(log_mels, [number // 4 for number in range(14)])
    Registry(plant.models).save(machine, learnt, TrainingDetails(n_clips=14, feature_spec=spec))

"""The page that people read: the fleet, each machine's story and the models behind it, in one file, no network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from acoustic_ad import __version__
from acoustic_ad.errors import UsageError
from acoustic_ad.jobs.band_history import heard_history, spread_over_days, stored_history
from acoustic_ad.jobs.baselines import Baselines
from acoustic_ad.jobs.fleet_report import FleetStatus, MachineStatus, fleet_status
from acoustic_ad.jobs.limit_memory import recall_limits
from acoustic_ad.jobs.listening import HeardMachine, hear_again
from acoustic_ad.jobs.machine_story import MachineStory, machine_story
from acoustic_ad.jobs.model_story import model_story
from acoustic_ad.jobs.schema import ClipRow
from acoustic_ad.jobs.store import Store
from acoustic_ad.models.registry import Registry
from acoustic_ad.models.signing import Trust
from acoustic_ad.report.figures import write_file
from acoustic_ad.report.page_fleet import fleet_facts, fleet_rows, state_words, worst_first
from acoustic_ad.report.page_machine import (
    pictures_document,
    rows_of_points,
    story_document,
    waterfall_document,
    why_document,
)
from acoustic_ad.report.page_model import model_document
from acoustic_ad.report.pictures import EXCESS_COLOURS, LEVEL_COLOURS, colour_stops
from acoustic_ad.sound.clip import one_line

SCRIPTS: Final = (
    "tools.js",
    "charts.js",
    "fleet.js",
    "timeline.js",
    "pictures.js",
    "model.js",
    "machine.js",
    "start.js",
)
UNUSUAL: Final = ("alarm", "warning", "sensor_fault", "no_data")
SOUNDING: Final = 12  # machines whose clips can be played: sound is most of a page's size
HEARD_BY_DAY: Final = 48  # clips of such a machine that are heard again for its waterfall
HIGHEST_HZ: Final = 8_000.0  # of the waterfall where no model tells

Progress = Callable[[str, int, int, str], None]


@dataclass(frozen=True, slots=True)
class PageOptions:
    """What goes into the page."""

    models: Path
    out: Path
    days: float | None = 90.0  # of the timelines; None: all that is stored
    details: int = 50  # machines with more than a row, worst first
    machine: str | None = None  # only this one
    audio: bool = True
    pictures: bool = True
    workers: int = 1
    faults: Mapping[tuple[str, str], str] | None = None  # (clip_id, machine) -> kind of fault
    trust: Trust | None = None  # only models signed by one of its keys are shown


@dataclass(frozen=True, slots=True)
class Page:
    """What was written."""

    path: Path
    bytes: int
    machines: int
    details: int
    missing: int  # clips whose sound is no longer there


def write_page(store: Store, options: PageOptions, on_progress: Progress | None = None) -> Page:
    """Write the page, whole or not at all.

    Raises UsageError (not .html, a folder, an unknown machine), StoreError, AcousticADError where it cannot be written.
    """
    check_page_suffix(options.out)
    report = on_progress or (lambda name, done, total, remark: None)
    fleet = fleet_status(store)
    machines = worst_first(fleet)
    if options.machine is not None and options.machine not in {one.row.machine for one in machines}:
        raise UsageError(f"no machine {one_line(options.machine)} in {store.name}; `acoustic-ad status` lists them")
    chosen = [one for one in machines if options.machine in (None, one.row.machine)][: options.details]
    documents, missing = _details(store, options, fleet, chosen, report)
    text = render(page_document(store.name, fleet, machines, documents))
    write_file(options.out, "--out", text)
    return Page(options.out, len(text), len(machines), len(documents), missing)


def check_page_suffix(path: Path) -> None:
    """Raise UsageError where no page can be written to `path`. Touches nothing."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out {one_line(str(path))}: the name must end with .html")
    if path.is_dir():
        raise UsageError(f"--out {one_line(str(path))} is a folder: name a file")


def page_document(
    store: str, fleet: FleetStatus, machines: list[MachineStatus], details: Mapping[str, Any]
) -> dict[str, Any]:
    """All that the page knows."""
    return {
        **fleet_facts(fleet),
        "store": one_line(Path(store).name),
        "version": __version__,
        "words": state_words(),
        "rows": fleet_rows(machines),
        "details": dict(details),
        "colours": {"level": colour_stops(LEVEL_COLOURS), "excess": colour_stops(EXCESS_COLOURS)},
    }


def render(document: Mapping[str, Any]) -> bytes:
    """The page as HTML, UTF-8.

    Data come as JSON in which no markup can stand, and the scripts put every name into the page as text. The page's own
    policy allows nothing but its own scripts and style, and no network at all.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("acoustic_ad.report", "web"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    folder = files("acoustic_ad.report") / "web"
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    style = (folder / "page.css").read_text(encoding="utf-8")
    page = environment.get_template("page.html.j2").render(
        data=json_for_html(document),
        script=script,
        style=style,
        script_hash=_hash(script),
        style_hash=_hash(style),
        page=document,
    )
    return page.encode("utf-8")


def json_for_html(document: Mapping[str, Any]) -> str:
    """JSON that can stand in a script element: no <, > or & in it, and ASCII only."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _details(
    store: Store, options: PageOptions, fleet: FleetStatus, chosen: Sequence[MachineStatus], report: Progress
) -> tuple[dict[str, Any], int]:
    """By machine what its view shows, and how many clips were looked for in vain."""
    recall_limits(store)
    baselines, registry = Baselines(options.models, options.trust), Registry(options.models, options.trust)
    stories: dict[str, MachineStory] = {}
    for done, machine in enumerate(chosen):
        report("reading machines", done, len(chosen), "")
        name = machine.row.machine
        story = machine_story(store, baselines, name, days=options.days, as_of=_seen(fleet, machine))
        if story is not None:
            stories[name] = story
    heard = _heard(store, options, chosen, stories)
    documents = {}
    for done, machine in enumerate(chosen):
        report("drawing machines", done, len(chosen), "")
        name = machine.row.machine
        again = heard.get(name, HeardMachine())
        document: dict[str, Any] = {"why": why_document(machine)}
        if (story := stories.get(name)) is not None:
            document["story"] = story_document(story)
            document["waterfall"] = waterfall_document(_history(store, story, again))
            document["pictures"] = pictures_document(again, story) if options.pictures else None
        document["model"] = model_document(model_story(store, registry, name, options.faults))
        documents[name] = document
    lost = [clip for one in heard.values() for clip in (*one.worst, one.usual) if clip is not None and clip.missing]
    return documents, len(lost)


def _seen(fleet: FleetStatus, machine: MachineStatus) -> datetime | None:
    """The moment that a machine is seen from: silence shows where the fleet is seen later than its last clip."""
    last = machine.row.last_clip_at
    return None if last is None else max(last, fleet.as_of)


def _heard(
    store: Store, options: PageOptions, chosen: Sequence[MachineStatus], stories: Mapping[str, MachineStory]
) -> dict[str, HeardMachine]:
    if not options.pictures:
        return {}
    unusual = [one.row.machine for one in chosen if one.row.state in UNUSUAL or one.heard in UNUSUAL]
    loud = [name for name in unusual if name in stories][:SOUNDING] or list(stories)[:SOUNDING]
    by_day = {name: _by_day(stories[name]) for name in loud}
    keep_sound = {name: options.audio and name in loud for name in stories}
    return hear_again(
        store,
        options.models,
        list(stories.values()),
        workers=options.workers,
        keep_sound=keep_sound,
        days_of=by_day,
        trust=options.trust,
    )


def _by_day(story: MachineStory) -> list[ClipRow]:
    """Clips of the whole window, as many of each day."""
    rows = rows_of_points(story.points)
    return [rows[number] for number in spread_over_days([row.recorded_at for row in rows], HEARD_BY_DAY)]


def _history(store: Store, story: MachineStory, heard: HeardMachine) -> Any:
    """By clips that were heard again where those of most days are still there, else by what the store kept."""
    days = {row.recorded_at.date() for row in rows_of_points(story.points)}
    again = {at.date() for at, _ in heard.by_day}
    if len(again) >= 0.5 * min(len(days), HEARD_BY_DAY) and len(again) > 1:
        return heard_history(heard.by_day, heard.edges_hz, story.begin, story.end)
    highest = heard.edges_hz[-1] if heard.edges_hz else HIGHEST_HZ
    return stored_history(store, story.machine, story.begin, story.end, highest)

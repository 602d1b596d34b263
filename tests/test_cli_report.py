"""`acoustic-ad report`: one file that is well-formed, whole and says nothing that its reader did not ask for."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from cli_process import acoustic_ad
from PIL import Image
from plant import Plant
from written_page import HOSTILE, HOSTILE_NOTE, Page, hostile_plant, in_process


@pytest.fixture(scope="module")
def plant(scoring: Any, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Plant:
    return hostile_plant(tmp_path_factory.mktemp("hostile"), scoring.path, models)


@pytest.fixture(scope="module")
def page(plant: Plant) -> Page:
    out = plant.root / "page.html"
    run = acoustic_ad("report", *plant.where, "--out", out, "--workers", "1")
    assert run.out.startswith(f"{out}: 3 machines, ") and "alert" not in run.out + run.err
    return Page(out)


def uris(value: Any) -> Iterator[str]:
    """Every data URI in a document."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from uris(one)
    elif isinstance(value, str) and value.startswith("data:"):
        yield value


def kinds_of(page: Page) -> set[str]:
    return {uri.partition(";")[0] for uri in uris(page.data)}


def decoded(uri: str) -> io.BytesIO:
    return io.BytesIO(base64.b64decode(uri.partition(",")[2]))


def test_the_page_is_whole_and_has_every_machine(page: Page) -> None:
    assert sorted(page.names) == sorted(["fan", "pump", HOSTILE])
    assert page.data["details"].keys() == set(page.names)
    assert page.data["rows"][0]["state"] == "alarm", "worst first"
    assert page.tags[0] == ("html", {"lang": "en"})
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_names_and_notes_are_data_not_markup(page: Page) -> None:
    """No element is there that the template has not, and no attribute that runs anything."""
    found = [tag for tag, _ in page.tags]
    assert found.count("script") == 2 and "img" not in found and "iframe" not in found
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert HOSTILE_NOTE not in page.text and "<img src=x" not in page.text
    story = page.data["details"][HOSTILE]["story"]
    assert story["events"][-1]["note"] == HOSTILE_NOTE and HOSTILE_NOTE in str(story["alarms"])


def test_what_a_page_may_load_is_inside_it(page: Page) -> None:
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    (policy,) = [one["content"] for tag, one in page.tags if tag == "meta" and "http-equiv" in one]
    assert policy is not None and policy.startswith("default-src 'none';") and "unsafe" not in policy


def test_the_machine_says_why_and_shows_its_clips(page: Page) -> None:
    story = page.data["details"]["fan"]["story"]
    assert len(story["t"]) == len(story["z"]) == len(story["clip"]) == story["total"] == 22
    shown = page.data["details"]["fan"]["pictures"]
    assert [clip["clip"] for clip in shown["clips"]] and len(shown["clips"]) == 3
    for clip in shown["clips"]:
        assert Image.open(decoded(clip["level"])).size == Image.open(decoded(clip["excess"])).size
        assert 0.9 < clip["seconds"] < 1.1
    low, high = shown["edges"]
    assert 0 <= low < 100 and 7000 < high <= 8000
    model = page.data["details"]["fan"]["model"]
    assert sum(model["histogram"]["normal"]) > 10 and model["labelled"]["n"] == [18, 4]


def test_sound_that_cannot_be_heard_again_is_said_to_be_so(page: Page) -> None:
    clips = page.data["details"][HOSTILE]["pictures"]["clips"]
    assert clips and all(clip["missing"] and "level" not in clip for clip in clips)


def test_without_audio_and_of_one_machine(plant: Plant, tmp_path: Path) -> None:
    out = tmp_path / "small.html"
    told = in_process(
        "report", *plant.where, "--out", out, "--workers", "1", "--no-audio", "--machine", "fan", "--json"
    ).json
    assert told == {"page": str(out), "bytes": out.stat().st_size, "machines": 3, "details": 1, "missing": 0}
    small = Page(out)
    assert len(small.names) == 3 and list(small.data["details"]) == ["fan"]
    assert kinds_of(small) == {"data:image/webp"}


def test_clips_to_play(plant: Plant, tmp_path: Path) -> None:
    out = tmp_path / "heard.html"
    in_process("report", *plant.where, "--out", out, "--machine", "fan", "--workers", "1")
    page = Page(out)
    assert kinds_of(page) == {"data:image/webp", "data:audio/mpeg"}
    shown = page.data["details"]["fan"]["pictures"]
    sounds = [soundfile.read(decoded(clip["sound"])) for clip in [*shown["clips"], shown["usual"]]]
    assert len(sounds) == 4 and all(0.9 < len(sound) / rate_hz < 1.2 for sound, rate_hz in sounds)
    assert 0.7 < max(abs(sound).max() for sound, _ in sounds) <= 1.0, "one gain for all"


def test_without_pictures_no_sound_file_is_opened(plant: Plant, tmp_path: Path) -> None:
    out = tmp_path / "bare.html"
    told = in_process("report", *plant.where, "--out", out, "--no-pictures", "--details", "1", "--json").json
    assert told["missing"] == 0 and told["details"] == 1
    bare = Page(out)
    assert list(bare.data["details"]) == bare.names[:1]
    assert bare.data["details"][bare.names[0]]["pictures"] is None
    run = in_process("report", *plant.where, "--out", out, "--no-pictures", "--details", "1")
    assert "the 1 worst have details: --details 3 shows those of all" in run.err


def test_clips_that_changed_since_are_not_shown(recordings: Path, models: Path, tmp_path: Path) -> None:
    """A store may name any path: bytes that were never scored must not get into a page that is passed on."""
    root, db = tmp_path / "moved", tmp_path / "x.db"
    in_process("score", shutil.copytree(recordings, root), "--models", models, "--db", db, "--workers", "1")
    for clip in (root / "fan").iterdir():
        clip.write_bytes((root / "pump" / clip.name).read_bytes())
    out = tmp_path / "changed.html"
    told = in_process("report", "--db", db, "--models", models, "--out", out, "--workers", "1", "--json").json
    fan = Page(out).data["details"]["fan"]["pictures"]
    assert told["missing"] == 4 and all("other sound" in clip["missing"] for clip in fan["clips"])


def test_the_store_is_not_written_to(plant: Plant, tmp_path: Path) -> None:
    before = plant.db.read_bytes()
    in_process("report", *plant.where, "--out", tmp_path / "x.html", "--no-pictures")
    assert plant.db.read_bytes() == before


def test_mistakes_are_one_line(plant: Plant, tmp_path: Path) -> None:
    def refused(*args: str | Path, code: int) -> str:
        return in_process("report", *args, code=code).complaint

    assert "must end with .html" in refused(*plant.where, "--out", tmp_path / "page.pdf", code=2)
    assert "is a folder" in refused(*plant.where, "--out", _folder(tmp_path / "page.html"), code=2)
    unknown = refused(*plant.where, "--out", tmp_path / "p.html", "--machine", "stranger\nx", code=2)
    assert "no machine stranger\\nx" in unknown and "acoustic-ad status" in unknown
    assert "none.db" in refused("--db", tmp_path / "none.db", "--out", tmp_path / "p.html", code=1)
    gone = refused(*plant.where, "--out", tmp_path / "none" / "p.html", "--no-pictures", code=1)
    assert "cannot be written" in gone
    assert "none.csv" in refused(*plant.where, "--out", tmp_path / "p.html", "--data", tmp_path / "none.csv", code=1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_machine_without_a_model_is_told_of(plant: Plant, tmp_path: Path) -> None:
    run = in_process("report", "--db", plant.db, "--models", tmp_path / "none", "--out", tmp_path / "p.html")
    assert run.code == 0
    model = Page(tmp_path / "p.html").data["details"]["fan"]["model"]
    assert "problem" in model

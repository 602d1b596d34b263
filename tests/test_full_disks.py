"""A disk that is full in the middle of a command: one line that says where and what to do, and nothing half-written."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from cli_process import acoustic_ad, rows_of, write_clips
from full_disk import FullDisk, needs_mount, tree

from acoustic_ad.models.registry import Registry

pytestmark = needs_mount
OLD = b"what was there before\n"


@pytest.fixture
def full_disk(tmp_path: Path) -> FullDisk:
    (tmp_path / "disk").mkdir()
    return FullDisk(tmp_path / "disk", tmp_path / "left")


def check_refused(disk: FullDisk, room_kib: int, name: str, *call: str | Path, code: int = 1) -> None:
    """The command ends with a line about `name`; what is on the disk is what was."""
    before = tree(disk.folder)
    complaint = acoustic_ad(*call, before=disk.before(room_kib), code=code).complaint
    assert name in complaint and "make room" in complaint, complaint
    assert tree(disk.left) == before


TABLES = ["rows.csv", "rows.jsonl", "rows.parquet", "job.prom", "fleet.csv"]
Call = tuple[str | Path, ...]


@pytest.fixture
def writers(db: Path, models: Path, recordings: Path, full_disk: FullDisk) -> dict[str, Call]:
    """Commands that write a file to the full disk, by what they write."""
    kept, clip = ("--db", db, "--models", models), next((recordings / "fan").iterdir())
    commands: dict[str, Call] = {
        **dict.fromkeys(TABLES, ("score", recordings, *kept, "--workers", "1", "--out")),  # all is known
        "job.prom": ("score", recordings, *kept, "--workers", "1", "--metrics"),
        "fleet.csv": ("status", "--db", db, "--out"),
        "page.html": ("report", "--no-audio", "--no-pictures", *kept, "--out"),
        "fan.onnx": ("export", "fan", "--models", models, "--onnx"),
        "clip.png": ("explain", clip, "--machine", "fan", *kept, "--out"),
    }
    return {name: (*command, full_disk.folder / name) for name, command in commands.items()}


@pytest.mark.parametrize("name", [*TABLES, "page.html", "fan.onnx", "clip.png"])
def test_an_old_file_stays(name: str, writers: dict[str, Call], full_disk: FullDisk) -> None:
    """The disk has room for the name of a new file, and for none of its content."""
    (full_disk.folder / name).write_bytes(OLD)
    check_refused(full_disk, 0, name, *writers[name])


@pytest.mark.parametrize("name", ["rows.csv", "page.html"])
def test_no_new_file_begins(name: str, writers: dict[str, Call], full_disk: FullDisk) -> None:
    """The disk takes the first page, and not the next."""
    check_refused(full_disk, 4, name, *writers[name])


def test_the_store_of_a_run_whose_rows_found_no_room(writers: dict[str, Call], full_disk: FullDisk, db: Path) -> None:
    """Such a run is not told to have done its work, and has lost nothing: the next one does."""
    check_refused(full_disk, 4, "rows.csv", *writers["rows.csv"])
    with sqlite3.connect(db) as store:
        assert store.execute("pragma integrity_check").fetchone() == ("ok",)
        assert store.execute("select exit_code from runs order by id desc").fetchone()[0] not in (0, 3, 4)
    assert acoustic_ad(*writers["rows.csv"], "--json").json["clips"]["already_scored"] == 44
    assert len(rows_of(full_disk.folder / "rows.csv")) == 44


def test_a_manifest_and_a_unit(recordings: Path, full_disk: FullDisk) -> None:
    place = full_disk.folder
    write_clips(place / "fan", "fan", range(2))
    (place / "clips.csv").write_bytes(OLD)
    check_refused(full_disk, 0, "clips.csv", "manifest", "build", place, "--out", place / "clips.csv", "--force")
    units = ("schedule", "systemd", "--every", "1h", "--folder", recordings, "--db", place / "x.db")
    check_refused(full_disk, 0, "acoustic-ad", *units, "--out", place)


def test_half_a_key_is_none(full_disk: FullDisk) -> None:
    """At the private key, and at the public one."""
    for room_kib in (0, 4):
        check_refused(full_disk, room_kib, "key", "models", "keygen", full_disk.folder / "key", code=2)
    acoustic_ad("models", "keygen", full_disk.folder / "key")


class Retraining:
    """Models of before on the full disk, and a training that would make the next ones."""

    def __init__(self, disk: FullDisk, recordings: Path, models: Path, recipe: Path) -> None:
        self.disk, self.models = disk, disk.folder / "models"
        shutil.copytree(models, self.models)
        self.call = ("train", recordings, "--recipe", recipe, "--models", self.models, "--workers", "1")

    def check_old_ones(self) -> None:
        """What is left on the disk are the models of before, which load."""
        registry = Registry(self.disk.left / "models")
        assert registry.machines() == ["fan", "pump"]
        for machine in registry.machines():
            assert registry.load(machine)[1].version == "v0001" == registry.current(machine)
        assert {problem for _, _, problem in registry.verify()} == {None}


@pytest.fixture
def retraining(full_disk: FullDisk, recordings: Path, models: Path, recipe: Path) -> Retraining:
    return Retraining(full_disk, recordings, models, recipe)


def test_features_that_find_no_room(retraining: Retraining) -> None:
    """When some clips are written. They lie beside the models, unless told otherwise."""
    check_refused(retraining.disk, 16, "features", *retraining.call)
    retraining.check_old_ones()


def test_a_cache_that_finds_no_room(full_disk: FullDisk, recordings: Path, own_models: Path, recipe: Path) -> None:
    call = ("train", recordings, "--recipe", recipe, "--models", own_models, "--workers", "1")
    before = tree(own_models)
    check_refused(full_disk, 0, "features", *call, "--cache", full_disk.folder)
    assert tree(own_models) == before


@pytest.mark.parametrize("room_kib", [0, 8])
def test_a_bundle_that_finds_no_room(room_kib: int, retraining: Retraining, tmp_path: Path) -> None:
    """At its first page, and at a later one: a row for each machine, in which the place and what to do stand."""
    roomy, before = tmp_path / "roomy", tree(retraining.disk.folder)
    call = (*retraining.call, "--cache", roomy, "--json")
    refused = acoustic_ad(*call, before=retraining.disk.before(room_kib), code=1)
    assert refused.json["machines"] == []
    for row, machine in zip(refused.json["refused"], ("fan", "pump"), strict=True):
        assert row["machine"] == machine
        assert f"{machine}/v0002 cannot be written" in row["reason"] and "make room" in row["reason"]
    assert tree(retraining.disk.left) == before
    retraining.check_old_ones()
    assert {path.suffix for path in roomy.iterdir()} == {".clips", ".planted"}  # whole, for the next run


def test_a_pointer_that_finds_no_room(retraining: Retraining) -> None:
    promote = ("models", "promote", "fan", "v0001", "--models", retraining.models)
    check_refused(retraining.disk, 0, "fan/current", *promote)
    retraining.check_old_ones()

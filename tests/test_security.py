"""A hostile user's afternoon: names, files, links and stores that try to run, to escape, to forge or to give away.

Bundles have tests of their own (`models/test_hostile_bundles`, `models/test_signing`), and so have unit files
(`jobs/test_schedule`), the page (`report/test_page`) and the secrets of messages (`test_cli_notify`).
"""

from __future__ import annotations

import ast
import csv
import html.parser
import io
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_process import wav
from plant import Plant, faulty, normal
from typer.testing import CliRunner, Result

import acoustic_ad
from acoustic_ad.cli import app
from acoustic_ad.jobs.clip_files import files_of
from acoustic_ad.jobs.fleet_report import fleet_status
from acoustic_ad.jobs.lock import hold_lock
from acoustic_ad.jobs.store import Store
from acoustic_ad.models.registry import Registry
from acoustic_ad.report.fleet import write_fleet_csv
from acoustic_ad.report.rows import write_rows
from acoustic_ad.sound.folders import is_inside
from acoustic_ad.sound.manifest import read_manifest, write_manifest

SECRET = "correct-horse-battery"
FORMULAS = ("=cmd|'C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1+1", "\r=1+1")
STARTS = ("=", "+", "-", "@", "\t", "\r")
MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
STEERING = "fan\x1b[2J\x1b]0;owned\x07\x9b31m\nforged line\u202e"


def run(*arguments: str | Path, **environment: str) -> Result:
    """A command inside this process, which is where most of them can be tried in a second."""
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200", **environment})


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """Machines that are called as an attacker likes, one of them in alarm."""
    plant = Plant(tmp_path_factory.mktemp("hostile") / "plant")
    for number, machine in enumerate((STEERING, MARKUP, *FORMULAS)):
        # Clip ids hold the machine's name: on a disk, a slash in it would only make a folder.
        plant.add_clips(machine, normal(40, seed=number) + (faulty(30) if machine == STEERING else []))
    plant.tell()
    return plant


# --- code ------------------------------------------------------------------------------------------------------------


def test_nothing_of_what_is_read_can_run() -> None:
    """Beside what test_architecture forbids: no shell, no other program, no module by a name from data."""
    forbidden_imports = {"subprocess", "pty", "code", "runpy", "imp", "xml", "xmlrpc", "zipfile", "tarfile"}
    forbidden_calls = {"os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv", "compile", "__import__"}
    forbidden_calls |= {"torch.jit.load", "np.load", "numpy.load", "tempfile.mktemp", "shutil.unpack_archive"}
    # Detectors are found in their own folder, by the files that lie there.
    allowed = {("detectors/base.py", "importlib.import_module")}
    wrong, seen = [], 0
    package = Path(acoustic_ad.__file__).parent
    for file in sorted(package.rglob("*.py")):
        name = str(file.relative_to(package))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            seen += 1
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
                wrong += [f"{name} imports {one}" for one in names if one.split(".")[0] in forbidden_imports]
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in forbidden_calls or (called == "importlib.import_module" and (name, called) not in allowed):
                    wrong.append(f"{name}:{node.lineno} calls {called}")
                if any(one.arg == "shell" for one in node.keywords):
                    wrong.append(f"{name}:{node.lineno} uses a shell")
    assert seen > 10_000 and not wrong, "\n".join(wrong)


# --- files outside the root ------------------------------------------------------------------------------------------


@pytest.fixture
def walled(tmp_path: Path) -> Path:
    """A folder with a clip of its own, beside a secret that is good sound."""
    root = tmp_path / "root"
    (root / "fan").mkdir(parents=True)
    (root / "fan" / "own.wav").write_bytes(wav("fan", 0))
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "clip.wav").write_bytes(wav("fan", 1))
    return root


ESCAPES: dict[str, Callable[[Path], str]] = {
    "parent": lambda root: "../secret/clip.wav",
    "hidden parent": lambda root: "fan/../../secret/clip.wav",
    "absolute": lambda root: str(root.parent / "secret" / "clip.wav"),
    "a twin's name": lambda root: "../root2/clip.wav",
    "a link to a file": lambda root: linked(root, "fan/link.wav", "secret/clip.wav"),
    "a link to a folder": lambda root: linked(root, "door", "secret") + "/clip.wav",
    "a link to a link": lambda root: linked(root, "a.wav", str(linked(root, "b.wav", "secret/clip.wav"))),
    "a device": lambda root: "/dev/zero",
    "another process": lambda root: "/proc/self/environ",
}


def linked(root: Path, name: str, target: str) -> str:
    there = root / target if (root / target).is_symlink() else root.parent / target
    (root / name).symlink_to(there)
    return name


@pytest.mark.parametrize("case", ESCAPES)
def test_a_manifest_reaches_nothing_outside_its_folder(walled: Path, case: str) -> None:
    (walled.parent / "root2").mkdir()
    (walled.parent / "root2" / "clip.wav").write_bytes(wav("fan", 2))
    path = ESCAPES[case](walled)
    with (walled / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "machine"), ("fan/own.wav", "fan"), (path, "fan")])
    clips = read_manifest(walled).clips
    assert len(clips) == 2
    (bad,) = [clip for clip in clips if clip.problem is not None]
    assert bad.problem is not None and bad.problem[0] == "outside_root"


def test_a_folder_reaches_nothing_outside_itself(walled: Path) -> None:
    for case in ("a link to a file", "a link to a folder"):
        ESCAPES[case](walled)
    (walled / "loop").symlink_to(walled)
    (walled / "fan" / "root").symlink_to("/")
    usable = [clip for clip in read_manifest(walled).clips if clip.problem is None]
    assert [clip.clip_id for clip in usable] == ["fan/own.wav"]
    assert all(is_inside(os.path.realpath(clip.path), os.path.realpath(walled)) for clip in usable)


def test_a_store_that_names_other_files_is_not_believed(hostile: Plant, tmp_path: Path) -> None:
    """The page plays clips by what the store says: a store from elsewhere may say anything."""
    plant = hostile.copy(tmp_path / "plant")
    (tmp_path / "secret.wav").write_bytes(wav("fan", 1))
    (plant.sound / "inside.wav").write_bytes(wav("fan", 2))
    (plant.sound / "door.wav").symlink_to(tmp_path / "secret.wav")
    with sqlite3.connect(plant.db) as database:
        one, two, three, four = database.execute(
            "SELECT id, sha256 FROM clip_scores WHERE machine = ? LIMIT 4", (FORMULAS[1],)
        ).fetchall()
        names = ("../../secret.wav", str(tmp_path / "secret.wav"), "door.wav", "inside.wav")
        for (number, _), name in zip((one, two, three, four), names, strict=True):
            database.execute("UPDATE clip_scores SET clip_id = ? WHERE id = ?", (name, number))
    database.close()
    with Store.open(plant.db, read_only=True) as store:
        found = files_of(store, FORMULAS[1], [content for _, content in (one, two, three, four)])
    assert [file.path for file in found.values()] == [plant.sound / "inside.wav"]


def planted(folder: Path, name: str) -> Path:
    """A link where a temporary file will be, to a file that must stay as it is."""
    victim = folder / "victim"
    victim.write_text("precious")
    (folder / name).symlink_to(victim)
    return victim


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_rows_are_not_written_through_a_planted_link(tmp_path: Path, suffix: str) -> None:
    victim = planted(tmp_path, f".acoustic-ad.{os.getpid()}.tmp")
    write_rows(tmp_path / f"out{suffix}", [])
    assert victim.read_text() == "precious" and not (tmp_path / f"out{suffix}").is_symlink()


def test_tables_are_not_written_through_a_planted_link(hostile: Plant, tmp_path: Path) -> None:
    victim = planted(tmp_path, f".acoustic-ad.{os.getpid()}.tmp")
    with Store.open(hostile.db, read_only=True) as store:
        write_fleet_csv(tmp_path / "out.csv", fleet_status(store))
    assert victim.read_text() == "precious" and not (tmp_path / "out.csv").is_symlink()


def test_locks_are_not_taken_through_a_planted_link(tmp_path: Path) -> None:
    victim = planted(tmp_path, f"a.db.lock.json.{os.getpid()}.tmp")
    with hold_lock(tmp_path / "a.db"):
        pass
    assert victim.read_text() == "precious"
    (tmp_path / "b.db.lock").symlink_to(victim)
    with pytest.raises(acoustic_ad.errors.AcousticADError), hold_lock(tmp_path / "b.db"):
        pass
    assert victim.read_text() == "precious"


def test_unit_files_are_not_written_through_a_planted_link(tmp_path: Path) -> None:
    victim = planted(tmp_path, f".acoustic-ad.cron.{os.getpid()}.tmp")
    done = run("schedule", "cron", "--every", "1h", "--folder", "/sound", "--db", "/a.db", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert victim.read_text() == "precious" and not (tmp_path / "acoustic-ad.cron").is_symlink()


# --- names -----------------------------------------------------------------------------------------------------------


def test_no_cell_is_a_formula(hostile: Plant, tmp_path: Path) -> None:
    with Store.open(hostile.db, read_only=True) as store:
        write_rows(tmp_path / "rows.csv", store.rows_of(hostile.sound))
        write_fleet_csv(tmp_path / "fleet.csv", fleet_status(store))
    seen = 0
    for file in ("rows.csv", "fleet.csv"):
        rows = list(csv.reader(io.StringIO((tmp_path / file).read_bytes().decode(), newline="")))
        machine = rows[0].index("machine")
        assert {row[machine].removeprefix("'") for row in rows[1:]} >= {*FORMULAS}
        for row in rows:
            for cell in row:
                seen += cell.startswith("'")
                assert not cell.startswith(STARTS) or is_number(cell), (file, cell)
    assert seen > 6 * 40


def test_a_manifest_that_is_written_holds_no_formula_and_reads_back(tmp_path: Path) -> None:
    names = [name for name in FORMULAS if "/" not in name]
    for name in names:
        (tmp_path / "root" / name).mkdir(parents=True)
        (tmp_path / "root" / name / "a.wav").write_bytes(wav("fan", 0))
    manifest = read_manifest(tmp_path / "root")
    write_manifest(manifest, tmp_path / "root" / "manifest.csv")
    with (tmp_path / "root" / "manifest.csv").open(newline="") as stream:
        assert not [cell for row in csv.reader(stream) for cell in row if cell.startswith(STARTS)]
    again = read_manifest(tmp_path / "root")
    assert {clip.machine for clip in again.clips} == {clip.machine for clip in manifest.clips} == set(names)


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


class Seen(html.parser.HTMLParser):
    """Elements and attributes as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts, self.handlers, self.images = 0, [], 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.images += tag == "img"
        self.handlers += [name for name, _ in attributes if name.startswith("on")]


def test_no_name_becomes_markup(hostile: Plant, tmp_path: Path) -> None:
    done = run("report", *hostile.where, "--out", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "page.html").read_text()
    seen = Seen(text)
    assert (seen.scripts, seen.handlers, seen.images) == (2, [], 0)  # its data and its own script
    assert "alert(1)" in text and "default-src 'none'" in text


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("alarms", "list"),
        ("events", "list"),
        ("models", "list"),
        ("models", "verify"),
        ("models", "show", STEERING),
        ("notify", "outbox"),
        ("health", "replay"),
    ],
    ids=" ".join,
)
def test_no_name_steers_a_terminal(hostile: Plant, command: tuple[str, ...]) -> None:
    where = {"models": ("--models", hostile.models), "notify": ("--db", hostile.db)}.get(command[0], hostile.where)
    if command[0] in ("alarms", "events"):
        where = ("--db", hostile.db)
    done = run(*command, *where)
    said = done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert not [sign for sign in said if not sign.isprintable() and sign != "\n"], ascii(said)
    assert "\nforged line" not in said


def test_no_recipe_in_a_bundle_steers_a_terminal(hostile: Plant, tmp_path: Path) -> None:
    """A bundle says what it likes, with good hashes."""
    plant = hostile.copy(tmp_path / "plant")
    registry = Registry(plant.models)
    model, _ = registry.load(MARKUP)
    from acoustic_ad.models.bundle import TrainingDetails

    model.recipe = model.recipe.model_copy(update={"name": STEERING})
    registry.save(MARKUP, model, TrainingDetails(n_clips=300))
    for arguments in (("models", "show", MARKUP), ("models", "list"), ("models", "verify")):
        said = run(*arguments, "--models", plant.models).output
        assert said and not [sign for sign in said if not sign.isprintable() and sign != "\n"], ascii(said)


# --- secrets ---------------------------------------------------------------------------------------------------------

URL = f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/plant"


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("alarms", "list"),
        ("alarms", "ack", "1", "--by", "Ann"),
        ("events", "list"),
        ("events", "add", "fan", "maintenance", "--at", "2026-01-05T01:00Z"),
        ("health", "replay"),
        ("notify", "outbox"),
        ("report",),
        ("score", "{sound}"),
        ("models", "recalibrate", "fan", "--confirmed-normals"),
        ("schedule", "cron", "--every", "1h", "--folder", "/sound"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    "url", [URL, URL.replace("/plant", ":x/plant"), f"mysql://me:{SECRET}@h/x", f"x://me:{SECRET}@"]
)
def test_no_password_of_a_database_is_shown(
    walled: Path, command: tuple[str, ...], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(walled.parent)
    words = [word.replace("{sound}", str(walled)) for word in command]
    done = run(*words, ACOUSTIC_AD_DB=url)
    assert done.exit_code != 0 and done.output
    assert SECRET not in done.output and "Traceback" not in done.output, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)


def test_logs_hold_no_password(walled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(walled.parent)
    for form in ("json", "text"):
        done = run("score", walled, "--log-format", form, ACOUSTIC_AD_DB=URL)
        assert done.exit_code != 0 and done.output and SECRET not in done.output


def test_what_is_written_of_a_run_names_no_secret(hostile: Plant) -> None:
    with sqlite3.connect(hostile.db) as database:
        (arguments,) = database.execute("SELECT arguments FROM runs ORDER BY id DESC LIMIT 1").fetchone()
    database.close()
    kept: dict[str, Any] = json.loads(arguments)
    assert kept.keys() <= {"folder", "models"}

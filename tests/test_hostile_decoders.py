"""`score` where a decoder hangs, dies or takes all memory: such a clip costs its own row, and nothing else.

No file at hand does that to this libsndfile any more, so the workers are given a decoder that does, by the file's name.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import acoustic_ad, clip_name, environment, processes_of, rows_of, start, wait_until, write_clips

from acoustic_ad.jobs.fork_server import PRELOADED

DECODER = """
import os, signal, time
import acoustic_ad.sound.audio as audio

whole = audio._opened

def opened(path):
    name = path.name
    if "hangs" in name:
        while True:
            time.sleep(1)
    if "dies" in name or "all" in os.environ.get("DECODER", ""):
        os.kill(os.getpid(), signal.SIGSEGV)
    if "grows" in name:
        bytearray(1 << 31)
    return whole(path)

audio._opened = opened
"""


@pytest.fixture
def decoder(tmp_path):
    """The environment of a job whose workers have it."""
    folder = tmp_path / "decoder"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(DECODER)
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
def sound(tmp_path):
    """Four good clips, and those that are bad for a decoder among them."""
    write_clips(tmp_path / "sound" / "fan", "fan", range(4))
    content = (tmp_path / "sound" / "fan" / clip_name(0)).read_bytes()
    for number, name in enumerate(("hangs", "dies", "grows")):
        (tmp_path / "sound" / "fan" / f"20260105T08000{number}Z-{name}.wav").write_bytes(content + bytes(number + 1))
    return tmp_path / "sound"


def test_each_bad_clip_costs_its_own_row(sound, models, decoder, tmp_path):
    out = tmp_path / "rows.csv"
    limits = ("--clip-timeout", "3", "--worker-memory", "0.5", "--workers", "2")
    arguments = ("score", sound, "--models", models, "--db", tmp_path / "x.db", "--out", out, *limits)
    run = acoustic_ad(*arguments, "--json", code=3, env=decoder)
    reasons = {Path(row["clip_id"]).stem.rpartition("-")[2]: row["reason"] for row in rows_of(out) if row["reason"]}
    assert reasons == {"hangs": "decode_timeout", "dies": "worker_died", "grows": "out_of_memory"}
    assert (run.json["clips"]["scored"], run.json["clips"]["failed"]) == (4, 3)
    again = acoustic_ad(*arguments, "--json", env=decoder)  # known: not tried again
    assert (again.json["clips"]["already_scored"], again.json["clips"]["already_failed"]) == (4, 3)


def test_where_every_worker_dies_the_job_ends_and_blames_no_clip(sound, models, decoder, tmp_path):
    arguments = ("score", sound, "--models", models, "--db", tmp_path / "x.db", "--workers", "2")
    ended = acoustic_ad(*arguments, code=1, env=decoder | {"DECODER": "all"})
    assert "every worker dies" in ended.complaint and "--worker-memory" in ended.complaint
    for bad in (sound / "fan").glob("*-*.wav"):
        bad.unlink()
    assert acoustic_ad(*arguments, "--json").json["clips"]["scored"] == 4  # nothing was said of them


def test_no_library_is_loaded_from_where_the_job_was_started(recordings, models, tmp_path):
    """A torch.py among recordings would else be run by the server of the workers."""
    here = tmp_path / "here"
    here.mkdir()
    for name in ("torch", "onnxruntime", "acoustic_ad", "soundfile", "numpy"):
        (here / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})")
    program = Path(sys.executable).parent / "acoustic-ad"  # `python -m` looks where it is started, as is known of it
    for runtime in ("torch", "onnx"):
        arguments = ("score", recordings, "--models", models, "--db", tmp_path / f"{runtime}.db", "--runtime", runtime)
        run = subprocess.run(
            [program, *arguments, "--json"], cwd=here, env=environment(), capture_output=True, check=True
        )
        assert json.loads(run.stdout)["clips"]["scored"] == 44
    assert not (tmp_path / "ran").exists()


def test_no_process_is_left_of_a_run_that_is_refused(sound, models, tmp_path):
    """Its server was begun while the folder was listed, and would go on loading libraries."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    refused = (((sound, "--exit-on", "smoke"), 2), ((tmp_path / "empty",), 1), ((sound, "--split", "test"), 1))
    for (folder, *more), code in refused:
        process = start("score", folder, "--models", models, "--db", tmp_path / "none.db", *more)
        process.communicate(timeout=280)
        assert process.returncode == code
        assert wait_until(lambda process=process: not processes_of(process.pid), 5)


def test_what_is_loaded_stays_shared():
    """The module that sees to it comes last; a name that is misspelt would be passed over in silence."""
    from importlib.util import find_spec

    for names in PRELOADED.values():
        assert names[-1] == "acoustic_ad.jobs.frozen"
        assert all(find_spec(name) for name in names)

"""A store on a PostgreSQL server, shared by jobs on different folders, from the command line."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from cli_process import acoustic_ad, finish, start, verdicts, wait_until
from conftest import Made
from postgres_server import GUARDED, PASSWORD, PostgresServer

from acoustic_ad.jobs.store import Store
from acoustic_ad.jobs.store_lock import hold_store


def test_two_jobs_on_different_folders_at_once(
    postgres: PostgresServer, recordings: Path, models: Path, scoring: Made, tmp_path: Path
) -> None:
    """Also where one is killed: what it had stored stays, and the run after it stores the rest."""
    url = postgres.new_database()
    where = ("--models", models, "--db", url, "--workers", "1", "--json")

    def job(machine: str) -> tuple[str | Path, ...]:
        return ("score", recordings / machine, "--machine", machine, *where, "--out", tmp_path / f"{machine}.csv")

    pump, fan = start(*job("pump")), start(*job("fan"))

    def have_begun() -> bool:
        with Store.open(url) as store, store.reading() as connection:
            return connection.exec_driver_sql("SELECT count(DISTINCT root) FROM runs").scalar() == 2

    assert wait_until(have_begun, 60)
    os.killpg(fan.pid, signal.SIGKILL)
    fan.communicate()
    assert finish(pump).code == 0
    assert wait_until(lambda: finish(start(*job("fan"))).code == 0, 60), "the server frees the lock of a killed job"
    for machine in ("fan", "pump"):
        again = acoustic_ad(*job(machine)).json
        assert again["clips"]["already_scored"] == again["clips"]["found"] == 22
        expected = verdicts(scoring.path.with_name("all.csv"))
        found = verdicts(tmp_path / f"{machine}.csv")
        assert len(found) == 22 and all(expected[content] == said for content, said in found.items())
    checked = acoustic_ad("db", "check", "--db", url, "--json").json
    assert (checked["kind"], checked["sound"], checked["clips"]) == ("postgresql", True, {"scored": 44})
    states = {
        machine["machine"]: machine["state"]
        for machine in acoustic_ad("status", "--db", url, "--json").json["machines"]
    }
    assert states.keys() == {"fan", "pump"}


def test_a_second_job_on_the_same_folder_exits_5_and_names_the_first(
    postgres: PostgresServer, recordings: Path, models: Path
) -> None:
    url = postgres.new_database()
    arguments = ("score", recordings, "--models", models, "--workers", "1")
    with hold_store(url, recordings):
        said = acoustic_ad(*arguments, "--db", url, code=5).complaint
    for part in (str(recordings), socket.gethostname(), f"process {os.getpid()}", "since 20"):
        assert part in said


def test_a_password_comes_from_the_environment_and_is_not_told(postgres: PostgresServer) -> None:
    url = postgres.url("postgres", GUARDED)
    wrong = {"ACOUSTIC_AD_DB": url, "PGPASSWORD": "wrong secret"}
    said = acoustic_ad("status", code=1, env=wrong).complaint
    assert "PGPASSWORD" in said and "wrong secret" not in said
    right = {"ACOUSTIC_AD_DB": url + "&options=-csearch_path%3Dnowhere", "PGPASSWORD": PASSWORD}
    assert "empty database" in acoustic_ad("status", code=1, env=right).complaint

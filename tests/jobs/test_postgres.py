"""What is special about a store on a server: how it is found, what is refused, and that several can share it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from plant import EVERY, Plant, faulty, normal
from postgres_server import GUARDED, PASSWORD, PostgresServer
from receivers import receiving

from acoustic_ad.errors import StoreError
from acoustic_ad.jobs import notify, outbox
from acoustic_ad.jobs.alarm_book import add_event, events_of
from acoustic_ad.jobs.alarm_schema import EventRow
from acoustic_ad.jobs.migration import SCHEMA_VERSION
from acoustic_ad.jobs.notify_targets import read_targets
from acoustic_ad.jobs.postgres import server_url, shown
from acoustic_ad.jobs.retention import prune
from acoustic_ad.jobs.store import ClipRow, FileFact, MachineRow, Store
from acoustic_ad.jobs.store_check import check_store
from acoustic_ad.jobs.store_export import export_tables

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def commit(store: Store, root: str, name: str, content: str) -> int:
    row = ClipRow(name, "fan", NOON, "name", content, "model", 1.0, 0.5, "scored")
    return store.commit(store.begin_run(root), root, [row], [FileFact(name, "fan", 10, 1, content)])


# --- URLs ------------------------------------------------------------------------------------------------------------


def test_urls_mean_the_one_driver_and_are_shown_without_secrets() -> None:
    for text in ("postgresql://me:secret@host/plant", "postgres://me:secret@host/plant"):
        assert server_url(text).drivername == "postgresql+psycopg"
        assert shown(server_url(text)) == "postgresql://me:***@host/plant"
    assert "secret" not in shown(server_url("postgresql://me@host/plant?password=secret&sslpassword=secret&port=1"))
    for text in ("postgresql+pg8000://me:secret@h/d", "oracle://me:secret@h/d", "postgresql://me:secret@h:port/d"):
        with pytest.raises(StoreError) as caught:
            server_url(text)
        assert "secret" not in str(caught.value)


def test_passwords_come_from_the_environment_or_a_file(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {GUARDED}")
    url = postgres.url("postgres", GUARDED)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    with pytest.raises(StoreError, match="PGPASSWORD"):
        Store.open(url)
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(StoreError, match="refuses the user or the password") as caught:
        Store.open(url)
    assert "wrong" not in str(caught.value)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    Store.open(url).close()
    monkeypatch.delenv("PGPASSWORD")
    file = tmp_path / "pgpass"
    file.write_text(f"*:*:*:{GUARDED}:{PASSWORD}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    with Store.open(url, read_only=True) as store:
        assert PASSWORD not in store.name
    monkeypatch.delenv("PGPASSFILE")
    whole = url.replace(GUARDED, f"{GUARDED}:{quote(PASSWORD, safe='')}")  # as ACOUSTIC_AD_DB may hold it
    with Store.open(whole, read_only=True) as store:
        assert f"{GUARDED}:***@" in store.name


def test_what_cannot_be_a_store_is_one_line(postgres: PostgresServer, tmp_path: Path) -> None:
    empty = postgres.new_database()
    with pytest.raises(StoreError, match="is an empty database"):
        Store.open(empty, read_only=True)
    postgres.execute("CREATE SCHEMA songs")
    postgres.execute("CREATE TABLE songs.songs (title text)")
    cases = [
        (postgres.url("postgres") + "&options=-csearch_path%3Dsongs", "another program.*songs"),
        (postgres.url("postgres") + "&options=-csearch_path%3Dnowhere", "CREATE SCHEMA"),
        (postgres.url("nowhere"), "createdb"),
        (postgres.url("postgres", "nobody_known"), "PGPASSWORD"),
        (f"postgresql:///plant?host={tmp_path}", "does not answer"),
    ]
    for url, problem in cases:
        with pytest.raises(StoreError, match=problem) as caught:
            Store.open(url)
        assert "\n" not in str(caught.value)


def test_a_user_without_rights_is_told_so(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    postgres.execute("CREATE SCHEMA locked")
    postgres.execute(f"GRANT USAGE ON SCHEMA locked TO {GUARDED}")
    with pytest.raises(StoreError, match="the user may not do that"):
        Store.open(postgres.url("postgres", GUARDED) + "&options=-csearch_path%3Dlocked")


# --- transactions ----------------------------------------------------------------------------------------------------


def test_reading_writes_nothing_and_sees_one_moment(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    with Store.open(url) as writer, Store.open(url, read_only=True) as reader:
        commit(writer, "/plant", "a.wav", "a")
        with pytest.raises(StoreError, match="cannot be written"):
            reader.begin_run("/plant")
        with reader.reading() as connection:
            count = "SELECT count(*) FROM clip_scores"
            assert connection.exec_driver_sql(count).scalar() == 1
            commit(writer, "/plant", "b.wav", "b")
            assert connection.exec_driver_sql(count).scalar() == 1
        assert len(list(reader.rows_of("/plant"))) == 2


def test_writers_stand_in_line(postgres: PostgresServer) -> None:
    """Two jobs that store the same bytes at once: the second sees what the first has stored."""
    url = postgres.new_database()
    with Store.open(url) as one, Store.open(url) as other:
        done = threading.Event()

        def late() -> None:
            commit(other, "/other", "copy.wav", "a")
            done.set()

        with one.writing() as connection:
            thread = threading.Thread(target=late)
            thread.start()
            assert not done.wait(0.3)
            connection.exec_driver_sql("SELECT 1")
        thread.join(30)
        assert done.is_set()
        assert commit(one, "/plant", "a.wav", "a") == 0
        assert [row.also_known_as for row in one.rows_of("/plant")] == [("a.wav",)]
        assert one.integrity() == []


def test_jobs_on_many_folders_at_once_lose_nothing_and_store_nothing_twice(postgres: PostgresServer) -> None:
    """Half of each folder's clips are copies of another folder's."""
    url, clips = postgres.new_database(), 15

    def job(folder: int) -> int:
        with Store.open(url) as store:
            return sum(commit(store, f"/plant/{folder}", f"{n}.wav", f"{folder * (n % 2)}-{n}") for n in range(clips))

    with ThreadPoolExecutor(4) as pool:
        stored = sum(pool.map(job, range(4)))
    with Store.open(url, read_only=True) as store:
        assert store.integrity() == []
        assert [len(store.files(f"/plant/{folder}")) for folder in range(4)] == [clips] * 4
        with store.reading() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM clip_scores").scalar() == stored == 8 + 4 * 7


def test_several_that_open_an_empty_database_make_the_schema_once(postgres: PostgresServer) -> None:
    url = postgres.new_database()

    def look(number: int) -> int:
        with Store.open(url) as store, store.reading() as connection:
            return len(connection.exec_driver_sql("SELECT version FROM schema_version").all())

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(look, range(12))) == [1] * 12


def test_a_newer_schema_is_refused(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    with Store.open(url) as store, store.writing() as connection:
        connection.exec_driver_sql(f"UPDATE schema_version SET version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StoreError, match=rf"newer acoustic-ad.*schema {SCHEMA_VERSION + 1}"):
        Store.open(url)


def test_the_schema_of_before_is_brought_up_to_date(postgres: PostgresServer) -> None:
    old, new = postgres.new_database(), postgres.new_database()
    with Store.open(old) as store:
        commit(store, "/plant", "a.wav", "a")
        with store.writing() as connection:
            connection.exec_driver_sql("DROP TABLE found_limits")
            connection.exec_driver_sql("DROP TABLE machine_days")
            connection.exec_driver_sql("ALTER TABLE files DROP COLUMN pruned_at")
            connection.exec_driver_sql("UPDATE schema_version SET version = 3")
    with pytest.raises(StoreError, match="schema 3, this one reads"):
        Store.open(old, read_only=True)

    def columns_of(url: str) -> dict[str, list[tuple[object, ...]]]:
        with Store.open(url) as store, store.reading() as connection:
            look = sa.inspect(connection)
            return {
                table: [(one["name"], str(one["type"]), one["nullable"]) for one in look.get_columns(table)]
                for table in sorted(look.get_table_names())
            }

    assert columns_of(old) == columns_of(new)
    with Store.open(old, read_only=True) as store:
        assert len(list(store.rows_of("/plant"))) == 1


def test_a_server_that_ends_in_the_middle_is_one_line_and_undoes_the_transaction(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    with Store.open(url) as store:
        store.upsert_machines([MachineRow("fan", "normal", None, None, 1, None)])
        with pytest.raises(StoreError, match="broke the connection off") as caught, store.writing() as connection:
            connection.exec_driver_sql("DELETE FROM machines")
            (pid,) = connection.exec_driver_sql("SELECT pg_backend_pid()").one()
            postgres.execute(f"SELECT pg_terminate_backend({pid})")
            connection.exec_driver_sql("SELECT 1")
        assert "\n" not in str(caught.value)
        add_event(store, EventRow("fan", NOON, "maintenance"))  # another connection is made
        with store.reading() as connection:
            assert [event.machine for event in events_of(connection)] == ["fan"]


def test_messages_are_kept_and_sent_once(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outbox and the book of alarms, whose statements are their own, speak to a server as well."""
    monkeypatch.setattr(notify, "PAUSES_S", (0.01, 0.02))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    plant = Plant(tmp_path / "plant", url=postgres.new_database())
    plant.add_clips("fan", [*normal(60), *faulty(20)], begin=datetime.now(UTC) - 90 * EVERY)
    plant.tell()

    def tell(target: str) -> notify.Notifications:
        with Store.open(plant.database) as store:
            return notify.notify(store, read_targets([target], {}))

    with receiving() as receiver:
        assert tell(receiver.target).sent == len(receiver.posts) > 0
        assert tell(receiver.target) == notify.Notifications()
    with Store.open(plant.database) as store:
        assert outbox.waiting(store) == [] and outbox.given_up(store) == []
        assert check_store(store).problems == []
        done = prune(store, plant.models, datetime.now(UTC) + timedelta(days=3), datetime.now(UTC))
        assert done.clips > 30 and check_store(store).problems == []
        tables = {file.table: file.rows for file in export_tables(store, tmp_path / "out")}
        store.compact()
    assert tables["clip_scores"] == 80 - done.clips and tables["machine_days"] == done.days

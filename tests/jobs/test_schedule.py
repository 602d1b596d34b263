"""Unit files, crontab lines and CronJobs: what each scheduler reads back is what was given, whatever names hold."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from needed import needs_program
from scheduler_readers import kubernetes_word, systemd_words, what_cron_hands_on

from acoustic_ad.errors import UsageError
from acoustic_ad.jobs.schedule import ScheduledJob, check_job, cron_line, cron_times, cron_word, whole_minutes
from acoustic_ad.jobs.schedule_kubernetes import Cluster, cron_job
from acoustic_ad.jobs.schedule_systemd import calendar_lines, exec_words, quoted, systemd_units, unit_name

DAY = 1_440
HOSTILE = [
    *(
        "/a b",
        "/it's",
        '/q"q',
        "/100%",
        "/%h%%",
        "/$HOME",
        "/${HOME}",
        "/$$(HOME)",
        "/`id`",
        "/a;b",
        "/a\\b",
        "/a\\\\b",
    ),
    *(
        "/a\\%b",
        "/\\",
        "/-x",
        "/ ",
        "/#c",
        "/ünï/名前",
        "/a & b",
        "/<x>",
        "/{{x}}",
        "/a: b",
        "/'\"'",
        "/e\\x20",
        "/\U0001f50a",
    ),
]
# What check_job lets through, with the characters that mean something to any of the readers more often than others.
TEXT = st.one_of(
    st.text(st.sampled_from(list("a'\"\\%$ ")), max_size=8),
    st.text(st.sampled_from(list("ab '\"\\%${}();#&|<>*?[]~=:@!,-`^ü名")) | st.characters(), max_size=30),
)
WORDS = TEXT.filter(lambda word: _is_taken(word))
needs_systemd = needs_program("systemd", "systemd-analyze")


def _is_taken(word: str) -> bool:
    try:
        check_job(job_of(extra=(word,)))
    except UsageError:
        return False
    return True


def job_of(folder: str = "/srv/sound", *, every_min: int = 60, name: str = "acoustic-ad", **more: Any) -> ScheduledJob:
    known = {"models": Path("/srv/models"), "db": "/srv/db/a.db", "program": ("/usr/bin/acoustic-ad",)} | more
    return ScheduledJob(name, every_min, Path(folder), **known)


# --- cron ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unescapes", [False, True])
@given(words=st.lists(WORDS, min_size=1, max_size=4))
def test_the_shell_behind_cron_gets_the_words(unescapes, words):
    command = " ".join(cron_word(word) for word in words)
    assert shlex.split(what_cron_hands_on(command, unescapes)) == words


def test_a_real_shell_gets_the_words():
    for unescapes in (False, True):
        command = what_cron_hands_on(" ".join(map(cron_word, HOSTILE)), unescapes)
        said = subprocess.run(["/bin/sh", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True).stdout
        assert said.decode().split("\0")[:-1] == HOSTILE


def test_the_whole_crontab_line():
    line = cron_line(job_of("/srv/100% so und", every_min=15))
    comment, times_and_command, end = line.split("\n")
    assert comment.startswith("# acoustic-ad: every 15 min")
    assert end == ""
    times, command = times_and_command[: len("*/15 * * * *")], times_and_command[len("*/15 * * * *") :]
    assert times == "*/15 * * * *"
    words = shlex.split(what_cron_hands_on(command, False))
    assert words[:3] == ["/usr/bin/acoustic-ad", "score", "/srv/100% so und"]
    assert words[-1] == ">/dev/null"


def cron_minutes(times: str) -> set[int]:
    """The minutes of a day at which a crontab's five fields come."""
    minute, hour, *rest = times.split()
    assert rest in (["*", "*", "*"], ["*", "*", "1"])

    def field(text: str, size: int) -> set[int]:
        if text.startswith("*"):
            return set(range(0, size, int(text[2:] or 1)))
        return {int(text)}

    return {60 * h + m for h in field(hour, 24) for m in field(minute, 60)}


def test_cron_comes_as_often_as_it_says():
    possible = []
    for every in range(1, DAY + 1):
        try:
            times = cron_times(every)
        except UsageError as error:
            assert "1 d, 7 d" in str(error)
            continue
        possible.append(every)
        assert cron_minutes(times) == set(range(0, DAY, every)), every
    assert possible == [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720, 1440]
    assert cron_times(7 * DAY).endswith("* * 1")


def test_what_cron_cannot_take():
    with pytest.raises(UsageError, match="998"):
        cron_line(job_of("/srv/" + "long" * 300))
    with pytest.raises(UsageError, match="environment"):
        cron_line(job_of(environment="/etc/acoustic-ad.env"))
    with pytest.raises(UsageError, match="90 min"):
        cron_line(job_of(every_min=90))


# --- systemd ---------------------------------------------------------------------------------------------------------


@given(words=st.lists(WORDS, max_size=4))
def test_systemd_reads_the_words_of_a_command(words):
    assert systemd_words(" ".join(exec_words(["/bin/x y", *words]))) == ["/bin/x y", *words]


@pytest.mark.parametrize("program", ["acoustic-ad", "/it's", '/a"b', "/a\\b"])
def test_programs_that_systemd_refuses(program):
    with pytest.raises(UsageError, match="--program"):
        systemd_units(job_of(program=(program,)))


@given(words=st.lists(WORDS, min_size=1, max_size=4))
def test_systemd_reads_lists_of_paths(words):
    assert systemd_words(" ".join(quoted(word) for word in words), variables=False) == words


@given(name=WORDS.filter(bool))
def test_names_of_units(name):
    """What unit_name makes is a unit's name, and no two names become one."""
    made = unit_name(name)
    assert re.fullmatch(r"[A-Za-z0-9_\\][A-Za-z0-9_.\\-]*", made)
    if "\\" not in name:
        assert re.sub(rb"\\x(..)", lambda hit: bytes.fromhex(hit[1].decode()), made.encode()).decode() == name


def verify(*files: Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "verify", "--man=no", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_systemd
def test_systemd_itself_reads_programs_as_given(tmp_path):
    """It names the program that it did not find: the word as it read it."""
    units = []
    names = [name for name in HOSTILE if not set(name) & set("\"'\\")]
    assert len(names) > 15
    for number, name in enumerate(names):
        units.append(tmp_path / f"u{number}.service")
        (command,) = exec_words([f"/nowhere{name}x"])
        units[-1].write_text(f"[Service]\nType=oneshot\nExecStart={command}\n")
    said = verify(*units).stderr
    for number, name in enumerate(names):
        assert f"u{number}.service: Command /nowhere{name}x is not executable" in said


@needs_systemd
def test_units_pass_systemd_analyze_verify(tmp_path):
    """With hostile names, and with all that can be asked for."""
    jobs = [
        job_of(path, name=name, every_min=every, program=("/bin/true",), extra=(path, "--exit-on", "alarm"),
               written=(Path(path),), db=f"{path}/a.db", environment=environment)
        for path in HOSTILE
        for name, every, environment in (("acoustic-ad", 60, None), (path, 90, "/etc/acoustic ad%.env"))
        if not ("\\" in path and environment and environment.endswith("\\"))
    ]  # fmt: skip
    files = []
    for number, job in enumerate(jobs):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in systemd_units(job, user="root" if number % 2 else None).items():
            (folder / name).write_text(content)
            files.append(folder / name)
    assert len(files) == 4 * len(HOSTILE)
    for folder in sorted({file.parent for file in files}, key=lambda path: int(path.name)):
        found = verify(*folder.iterdir())
        assert (found.returncode, found.stderr) == (0, ""), (jobs[int(folder.name)], found.stderr)


def moments(line: str) -> set[int]:
    """The minutes of a day at which a calendar event `*-*-* H:M:00` comes."""
    hours, minutes, seconds = line.removeprefix("*-*-* ").split(":")
    assert seconds == "00"

    def field(text: str, size: int) -> set[int]:
        first, slash, step = text.partition("/")
        if slash:
            return set(range(int(first), size, int(step)))
        return set(range(size)) if text == "*" else {int(part) for part in text.split(",")}

    return {60 * h + m for h in field(hours, 24) for m in field(minutes, 60)}


def divisors() -> list[int]:
    return [every for every in range(1, DAY + 1) if DAY % every == 0]


def test_timers_come_as_often_as_they_say():
    for every in range(1, DAY + 1):
        if every not in divisors():
            with pytest.raises(UsageError, match="nearest"):
                calendar_lines(every)
            continue
        found = [moment for line in calendar_lines(every) for moment in moments(line)]
        assert sorted(found) == list(range(0, DAY, every)), every


@needs_systemd
def test_systemd_reads_every_calendar():
    lines = [line for every in [*divisors(), 7 * DAY] for line in calendar_lines(every)]
    found = subprocess.run(["systemd-analyze", "calendar", *lines], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("Normalized form") == len(lines)


# --- Kubernetes ------------------------------------------------------------------------------------------------------


@given(words=st.lists(WORDS, max_size=4))
@settings(deadline=None)
def test_a_container_gets_the_words(words):
    job = job_of(extra=tuple(words))
    document = yaml.safe_load(cron_job(job, Cluster()))
    container = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    got = [kubernetes_word(word) for word in container["command"] + container["args"]]
    assert got[: len(job.command())] == job.command()


def test_the_cron_job_fits_the_schema_of_kubernetes():
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for path in HOSTILE:
        if ":" in path:
            continue
        for cluster in (Cluster(), Cluster("reg.example/ad:1", ("plant-data:/srv", "more:/x"), "500m", "1.5Gi")):
            folder = f"/srv/sound{path}"
            job = job_of(folder, name="plant-1", environment="ad-secrets", extra=(path,))
            document = yaml.safe_load(cron_job(job, cluster))
            kubernetes_validate.validate(document, "1.30", strict=True)
            spec = document["spec"]
            pod = spec["jobTemplate"]["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            assert (spec["concurrencyPolicy"], pod["restartPolicy"]) == ("Forbid", "Never")
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}
            mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
            for needed in (folder, "/srv/models", "/srv/db"):
                assert any(Path(needed).is_relative_to(place) for place in mounted.values())
    with pytest.raises(kubernetes_validate.ValidationError):  # the schema does look
        kubernetes_validate.validate(document | {"spec": {**spec, "concurrencyPolicy": 1}}, "1.30", strict=True)


@pytest.mark.parametrize(
    ("change", "cluster", "word"),
    [
        ({"name": "Plant 1"}, Cluster(), "--name"),
        ({"name": "p" * 53}, Cluster(), "--name"),
        ({}, Cluster(memory="lots"), "--memory"),
        ({}, Cluster(cpu="-1"), "--cpu"),
        ({}, Cluster(image="a b"), "--image"),
        ({}, Cluster(volumes=("claim",)), "--volume"),
        ({}, Cluster(volumes=("claim:/srv/../etc",)), "--volume"),
        ({}, Cluster(volumes=("claim:/else",)), "/srv/sound"),
        ({}, Cluster(volumes=("a:/srv", "b:/srv")), "two volumes"),
        ({"db": "/var/a.db"}, Cluster(), "--volume"),
        ({"models": Path("/srv:/m"), "db": "/srv:/a.db", "folder": "/srv:/s"}, Cluster(), "colon"),
        ({"environment": "No_Secret"}, Cluster(), "--environment"),
        ({"every_min": 90}, Cluster(), "90 min"),
    ],
)
def test_what_kubernetes_cannot_take(change, cluster, word):
    with pytest.raises(UsageError, match=re.escape(word)):
        cron_job(job_of(**change), cluster)


# --- what no scheduler takes -----------------------------------------------------------------------------------------

PRINTERS = {"systemd": systemd_units, "cron": cron_line, "kubernetes": lambda job: cron_job(job, Cluster())}


@pytest.mark.parametrize("kind", PRINTERS)
@pytest.mark.parametrize(
    "bad", ["/a\nb", "/a\rb", "/a\x00b", "/a\x1bb", "/a\udcffb", "/a\u2028b", "/a\x85b", "/a\ufffeb"]
)
def test_line_ends_and_their_like_are_refused(kind, bad):
    for job in (job_of(bad), job_of(db=f"{bad}.db"), job_of(models=Path(bad)), job_of(name=bad), job_of(extra=(bad,))):
        with pytest.raises(UsageError, match="rename") as refused:
            PRINTERS[kind](job)
        assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("kind", PRINTERS)
def test_no_password_stands_in_a_unit_file(kind):
    with pytest.raises(UsageError, match="password") as refused:
        PRINTERS[kind](job_of(db="postgresql://plant:hunter2@db/ad"))
    assert "hunter2" not in str(refused.value)
    with pytest.raises(UsageError, match="empty"):
        PRINTERS[kind](job_of(name=""))


@pytest.mark.parametrize("environment", ["relative.env", "/etc/a*.env", "/etc/a.env ", "/etc/a\\"])
def test_files_of_the_environment(environment):
    with pytest.raises(UsageError, match="--environment"):
        systemd_units(job_of(environment=environment))


def test_whole_minutes():
    assert whole_minutes(3600) == 60
    for seconds in (30, 90):
        with pytest.raises(UsageError, match="whole minutes"):
            whole_minutes(seconds)

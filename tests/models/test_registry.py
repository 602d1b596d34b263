"""The registry keeps every machine apart from every other, and an old model loadable whatever happens to a new one."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from small_models import DETAILS, fitted, scores

from acoustic_ad.errors import BundleError
from acoustic_ad.models.names import LONGEST, folder_name, machine_name, version_number
from acoustic_ad.models.registry import Registry

ODD_NAMES = ["fan/id_00", "..", ".", "", "../../etc/passwd", "fan%2Fid_00", "Lüfter 3", "a\nb", "=cmd()", "x" * 300]

any_name = st.text(st.characters(), max_size=30) | st.text(".%/-_aA\\\x00", max_size=8) | st.text(min_size=150)


@given(any_name, any_name)
@example("", "%-")
@example("a/b", "a%2Fb")
@example("é", "é")
@example("x" * 200 + "a", "x" * 200 + "b")
def test_distinct_machines_have_distinct_folders(one: str, other: str) -> None:
    assert (folder_name(one) == folder_name(other)) == (one == other)


@given(any_name)
def test_folders_are_one_harmless_path_component(machine: str) -> None:
    folder = folder_name(machine)
    assert folder and len(folder.encode()) <= LONGEST and not folder.startswith(".")
    assert all(sign.isascii() and (sign.isalnum() or sign in "_-.%") for sign in folder)


@given(any_name)
def test_a_name_comes_back_unless_it_was_cut(machine: str) -> None:
    back = machine_name(folder_name(machine))
    assert back == machine if "%-" not in folder_name(machine)[:-1] else back in (None, machine)


@pytest.mark.parametrize("folder", ["a%2fb", "%41", "a b", ".hidden", "%FF", "%", "", "%-x"])
def test_foreign_folders_belong_to_no_machine(folder: str) -> None:
    assert machine_name(folder) is None


@pytest.mark.parametrize("name", ["v1", "v0000", "v00001", "v0001 ", "v٠٠٠١", "V0001", "v-001", "v0001\n", ".."])
def test_what_is_no_version(name: str) -> None:
    assert version_number(name) is None


def test_every_machine_has_its_own_model(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for number, machine in enumerate(ODD_NAMES):
        registry.save(machine, fitted(number % 3), DETAILS)
    assert registry.machines() == sorted(ODD_NAMES)
    assert len(list(tmp_path.iterdir())) == len(ODD_NAMES)
    for number, machine in enumerate(ODD_NAMES):
        model, info = registry.load(machine)
        assert info.machine == machine and scores(model) == scores(fitted(number % 3))
    assert all(reason is None for _, _, reason in registry.verify())


def test_a_long_name_is_known_also_without_its_pointer(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.save("x" * 300, fitted(), DETAILS, promote=False)
    (registry.folder_of("x" * 300) / "current").unlink()
    assert registry.machines() == ["x" * 300]


def test_an_empty_store(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "nothing")
    assert registry.machines() == [] and registry.verify() == []
    assert registry.versions("fan") == [] and registry.current("fan") is None
    with pytest.raises(BundleError, match="no model of machine 'fan'"):
        registry.load("fan")


def test_versions_are_counted_up_and_numbers_never_reused(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    assert [registry.save("m", fitted(n), DETAILS).version for n in (0, 1, 2)] == ["v0001", "v0002", "v0003"]
    registry.bundle_path("m", "v0003").rename(tmp_path / "elsewhere")
    assert registry.save("m", fitted(), DETAILS, promote=False).version == "v0004"
    assert registry.versions("m") == ["v0001", "v0002", "v0004"]


def test_a_model_can_be_kept_without_being_used(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.save("m", fitted(0), DETAILS, promote=False)
    assert registry.current("m") is None
    with pytest.raises(BundleError, match="no version of machine 'm' is in use"):
        registry.load("m")
    assert registry.verify() == [("m", "v0001", None)]
    registry.promote("m", "v0001")
    registry.save("m", fitted(1), DETAILS, promote=False)
    assert registry.current("m") == "v0001" and scores(registry.load("m")[0]) == scores(fitted(0))
    assert scores(registry.load("m", "v0002")[0]) == scores(fitted(1))


def test_rollback_goes_back_through_the_promotions(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for number in range(3):
        registry.save("m", fitted(number), DETAILS)
    registry.promote("m", "v0001")
    registry.promote("m", "v0001")  # again: no promotion to go back through
    assert [registry.rollback("m") for _ in range(3)] == ["v0003", "v0002", "v0001"]
    assert registry.current("m") == "v0001"
    with pytest.raises(BundleError, match="no earlier version"):
        registry.rollback("m")


def test_a_damaged_version_is_not_promoted(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.save("m", fitted(0), DETAILS)
    registry.save("m", fitted(1), DETAILS, promote=False)
    _damage(registry.bundle_path("m", "v0002") / "weights.safetensors")
    with pytest.raises(BundleError, match="sha256"):
        registry.promote("m", "v0002")
    assert registry.current("m") == "v0001"


@pytest.mark.parametrize("version", ["v0009", "../m/v0001", "current", "/etc"])
def test_an_unknown_version_is_answered_with_those_that_exist(tmp_path: Path, version: str) -> None:
    registry = Registry(tmp_path)
    registry.save("m", fitted(), DETAILS)
    for ask in (registry.load, registry.info, registry.promote):
        with pytest.raises(BundleError, match="there are: v0001"):
            ask("m", version)


def test_verify_names_what_is_refused(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for machine in ("a", "b", "c"):
        registry.save(machine, fitted(), DETAILS)
    registry.save("a", fitted(1), DETAILS)
    _damage(registry.bundle_path("a", "v0001") / "weights.safetensors")
    (registry.folder_of("b") / "current").write_text("v0001")
    registry.folder_of("c").rename(tmp_path / "renamed by hand")
    (tmp_path / "notes").mkdir()
    rows = registry.verify()
    assert [(machine, version) for machine, version, reason in rows if reason is None] == [
        ("a", "v0002"),
        ("b", "v0001"),
    ]
    refused = {(machine, version): reason or "" for machine, version, reason in rows if reason}
    assert "sha256" in refused["a", "v0001"] and "not valid JSON" in refused["b", "current"]
    assert "not the folder of any machine" in refused["renamed by hand", "v0001"] and len(refused) == 3
    assert registry.verify("b") == [row for row in rows if row[0] == "b"]


def test_a_new_promotion_mends_a_damaged_pointer(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.save("m", fitted(), DETAILS)
    (registry.folder_of("m") / "current").write_bytes(b"\x00" * 100)
    with pytest.raises(BundleError, match="models promote"):
        registry.load("m")
    registry.promote("m", "v0001")
    assert registry.current("m") == "v0001"


class Fault:
    """Fails at the n-th of the calls that make a write durable or visible."""

    CALLS = ("fsync", "rename", "replace")

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, fail: Callable[[], Any]) -> None:
        self.count, self._at, self._fail = 0, at, fail
        for name in self.CALLS:
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == self._at:
                self._fail()
            return call(*args, **options)

        return counted


def _disk_full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _count_of_calls(tmp_path: Path) -> int:
    with pytest.MonkeyPatch.context() as monkeypatch:
        registry = Registry(tmp_path / "counted")
        registry.save("m", fitted(0), DETAILS)
        fault = Fault(monkeypatch, -1, _disk_full)
        registry.save("m", fitted(1), DETAILS)
    assert fault.count >= 9  # two files and three folders, a rename; a pointer, its replacement, its folder
    return fault.count


def _old_or_new(models: Path, current: str) -> None:
    """What must hold after any accident: the current version loads, gives its scores, and a new save works."""
    registry = Registry(models)
    model, info = registry.load("m")
    assert info.version == current
    assert scores(model) == scores(fitted({"v0001": 0, "v0002": 1}[current]))
    assert all(reason is None for _, _, reason in registry.verify())
    later = registry.save("m", fitted(2), DETAILS)
    assert registry.current("m") == later.version and scores(registry.load("m")[0]) == scores(fitted(2))
    assert not list(models.rglob(".tmp-*"))


def test_the_old_model_survives_a_disk_that_fails_at_any_moment(tmp_path: Path) -> None:
    calls = _count_of_calls(tmp_path)
    for at in range(1, calls + 1):
        models = tmp_path / str(at)
        Registry(models).save("m", fitted(0), DETAILS)
        with pytest.MonkeyPatch.context() as monkeypatch:
            Fault(monkeypatch, at, _disk_full)
            with pytest.raises(BundleError, match="No space left on device"):
                Registry(models).save("m", fitted(1), DETAILS)
        assert not list(models.rglob(".tmp-*"))
        # Only the very last call, the fsync after the pointer was replaced, comes too late to keep the old one.
        _old_or_new(models, "v0002" if at == calls else "v0001")


def test_the_old_model_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    calls = _count_of_calls(tmp_path)
    for at in range(1, calls + 1):
        models = tmp_path / str(at)
        Registry(models).save("m", fitted(0), DETAILS)
        child = os.fork()
        if child == 0:
            with pytest.MonkeyPatch.context() as monkeypatch:
                Fault(monkeypatch, at, lambda: os.kill(os.getpid(), signal.SIGKILL))
                Registry(models).save("m", fitted(1), DETAILS)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        _old_or_new(models, "v0002" if at == calls else "v0001")


def test_the_first_training_that_dies_leaves_no_model_and_no_obstacle(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        Fault(monkeypatch, 4, _disk_full)
        with pytest.raises(BundleError):
            Registry(tmp_path).save("m", fitted(0), DETAILS)
    assert Registry(tmp_path).machines() == []
    assert Registry(tmp_path).save("m", fitted(0), DETAILS).version == "v0001"


def _damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)

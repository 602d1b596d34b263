"""Gate 10: hostile and damaged bundles are refused with the reason, before anything of them runs.

An attacker can make hashes fit, so every case that changes a content seals the bundle again, unless it is about the
hashes themselves. The arrays have a file of tests of their own.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_victim import Bomb, Victim, refuse
from small_models import DETAILS, fitted

from acoustic_ad.errors import BundleError
from acoustic_ad.models.bundle import read_bundle
from acoustic_ad.models.bundle_info import FORMAT


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    return Victim(tmp_path / "models")


def _torch_save(victim: Victim, file: Path) -> None:
    torch.save(Bomb(victim.fuse), file)


def _torch_save_legacy(victim: Victim, file: Path) -> None:
    torch.save(Bomb(victim.fuse), file, _use_new_zipfile_serialization=False)


def _pickle(victim: Victim, file: Path) -> None:
    file.write_bytes(pickle.dumps(Bomb(victim.fuse)))


def _numpy_object(victim: Victim, file: Path) -> None:
    with file.open("wb") as opened:
        np.save(opened, np.array([Bomb(victim.fuse)], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("name", ["weights.safetensors", "bundle.json", "weights.pt", "model.pkl"])
@pytest.mark.parametrize("write", [_pickle, _torch_save, _torch_save_legacy, _numpy_object])
def test_no_pickle_is_read(
    victim: Victim, write: Callable[[Victim, Path], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(victim, victim.path / name)
    if name == "weights.safetensors":
        victim.seal()
    says = {"weights.safetensors": "not safetensors", "bundle.json": "not valid JSON"}
    refuse(victim, says.get(name, "do not belong to a bundle"), monkeypatch)


def test_the_bomb_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "boom")))
    assert (tmp_path / "boom").exists()


def _document(**changes: Any) -> Callable[[Victim], None]:
    return lambda victim: victim.seal({**victim.document(), **changes})


def _without(key: str) -> Callable[[Victim], None]:
    return lambda victim: victim.seal({name: value for name, value in victim.document().items() if name != key})


def _recipe(table: str | None = None, **changes: Any) -> Callable[[Victim], None]:
    def change(victim: Victim) -> None:
        document = victim.document()
        (document["recipe"][table] if table else document["recipe"]).update(changes)
        victim.seal(document)

    return change


def _files(**entries: Any) -> Callable[[Victim], None]:
    def change(victim: Victim) -> None:
        document = victim.document()
        document["files"].update({name.replace("__", "/"): entry for name, entry in entries.items()})
        victim.seal(document)

    return change


FACTS = {"bytes": 1, "sha256": "0" * 64}
DOCUMENTS: dict[str, tuple[Callable[[Victim], None], str]] = {
    "another machine": (_document(machine="other"), "whose place is elsewhere"),
    "machine is a path": (_document(machine="../m"), "whose place is elsewhere"),
    "another version": (_document(version="v0002"), "whose place is elsewhere"),
    "version is a path": (_document(version="../v0001"), "is no version"),
    "file outside the bundle": (_files(**{"..__..__etc__passwd": FACTS}), "files"),
    "absolute file": (_files(__etc__passwd=FACTS), "files"),
    "no files": (_document(files={}), "files"),
    "newer format": (_document(format=FORMAT + 1), "newer acoustic-ad"),
    "older format": (_document(format=1), "older acoustic-ad"),
    "format is a text": (_document(format="1"), "format"),
    "unknown key": (_document(hook="os.system"), "hook"),
    "key with a newline": (_document(**{"a\nb": 1}), "schema"),
    "endless key": (_document(**{"a" * 10**6: 1}), "schema"),
    "missing key": (_without("calibration"), "calibration"),
    "missing digest": (lambda victim: _without("digest")(victim) or victim.put_text('"digest"', '"tsegid"'), "digest"),
    "number as text": (_document(n_clips="20"), "n_clips"),
    "negative number": (_document(n_clips=-1), "n_clips"),
    "number of 4000 digits": (_document(n_clips=10**4000), "n_clips"),
    "no time": (_document(created_at="yesterday"), "created_at"),
    "time without a zone": (_document(created_at="2026-01-01T00:00:00"), "created_at"),
    "half a surrogate pair": (_document(manifest_digest="\ud800"), "schema"),
    "recipe is a text": (_document(recipe="dae"), "recipe"),
    "recipe with an unknown key": (_recipe(hook="x"), "recipe.hook"),
    "unknown detector": (_recipe("detector", kind="os.system"), "no detector"),
    "detector of an ensemble": (_recipe("detector", kind="ensemble"), "an ensemble needs recipes"),
    "members by name": (_recipe(members=["dae", "mahalanobis"]), "recipe.members.0"),
    "members by path": (_recipe(members=["/etc/passwd"]), "recipe.members.0"),
    "detector is a path": (_recipe("detector", kind="../../evil"), "no detector"),
    "unknown detector option": (_recipe("detector", hook="x"), "detector.hook"),
    "another detector": (_recipe("detector", kind="dae"), ""),
    "network beyond any memory": (_recipe("detector", kind="dae", hidden=10**15), "detector.hidden"),
    "another scorer": (_recipe("scorer", kind="paper"), "paper"),
    "other patches": (_recipe("features", patch_frames=10**9), "patch_frames"),
    "impossible band": (_recipe("features", fmax_hz=9000.0), "fmax_hz"),
    "front-end that is none": (_document(front_end={"evil": 1}, spec_digest="0" * 64, features_from="audio"), "evil"),
    "front-end of another digest": (
        _document(front_end={"n_mels": 16}, spec_digest="0" * 64, features_from="audio"),
        "another version of the front-end",
    ),
    "front-end that contradicts itself": (_document(features_from="audio"), "contradict"),
    "deeply nested": (_document(extra={"x": json.loads("[" * 500 + "]" * 500)}), "bundle.json"),
}


# Only building the model shows that its arrays are those of another recipe.
BUILT = ("another detector", "another scorer")


@pytest.mark.parametrize("case", DOCUMENTS)
def test_hostile_documents(victim: Victim, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, says = DOCUMENTS[case]
    change(victim)
    refuse(victim, says, monkeypatch, built=case in BUILT)


TEXTS: dict[str, tuple[str, str, str]] = {
    "NaN": ('"seconds": 1.5', '"seconds": NaN', "NaN is not a JSON number"),
    "Infinity": ('"seconds": 1.5', '"seconds": -Infinity', "Infinity is not a JSON number"),
    "too large a number": ('"seconds": 1.5', '"seconds": 1e999', "too large a number"),
    "duplicate key": ('"machine": "m"', '"machine": "x", "machine": "m"', "duplicate key 'machine'"),
    "duplicate key inside": ('"steps": ', '"steps": 7, "steps": ', "duplicate key 'steps'"),
    "two documents": ("{", "{} {", "not valid JSON"),
    "byte order mark": ("{", "\ufeff{", "not valid JSON"),
    "comment": ("{", "{ // hello\n", "not valid JSON"),
    "number changed": ('"seconds": 1.5', '"seconds": 0.5', "changed after it was written"),
    "text changed": ('"manifest_digest": "ab', '"manifest_digest": "cd', "changed after it was written"),
    "array hash changed": ('"sha256": "', '"sha256": "0000', "sha256"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_hostile_texts(victim: Victim, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, says = TEXTS[case]
    victim.put_text(old, new)
    refuse(victim, says, monkeypatch)


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"format": 1e5}', b"9" * 5000])
def test_what_is_no_document(victim: Victim, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    victim.json.write_bytes(content)
    refuse(victim, "bundle.json", monkeypatch)


def _link_file(name: str) -> Callable[[Victim], None]:
    def change(victim: Victim) -> None:
        aside = victim.path.parent / "aside"
        (victim.path / name).rename(aside)
        (victim.path / name).symlink_to(aside)

    return change


def _link_folder(folder: Callable[[Victim], Path]) -> Callable[[Victim], None]:
    def change(victim: Victim) -> None:
        aside = victim.fuse.parent / "aside"
        folder(victim).rename(aside)
        folder(victim).symlink_to(aside)

    return change


def _in_place_of(name: str, make: Callable[[Path], Any]) -> Callable[[Victim], None]:
    def change(victim: Victim) -> None:
        (victim.path / name).unlink()
        make(victim.path / name)

    return change


def _sparse(name: str) -> Callable[[Victim], None]:
    return lambda victim: os.truncate(victim.path / name, 2**36)


FILES: dict[str, tuple[Callable[[Victim], Any], str]] = {
    "linked document": (_link_file("bundle.json"), "symbolic link"),
    "linked weights": (_link_file("weights.safetensors"), "symbolic link"),
    "linked version": (_link_folder(lambda victim: victim.path), "symbolic link"),
    "linked machine": (_link_folder(lambda victim: victim.path.parent), "symbolic link"),
    "weights in a pipe": (_in_place_of("weights.safetensors", os.mkfifo), "not a regular file"),
    "document in a pipe": (_in_place_of("bundle.json", os.mkfifo), "not a regular file"),
    "weights in a folder": (_in_place_of("weights.safetensors", os.mkdir), "weights.safetensors"),
    "weights from /dev/zero": (_in_place_of("weights.safetensors", lambda path: path.symlink_to("/dev/zero")), "link"),
    "no weights": (_in_place_of("weights.safetensors", lambda path: None), "missing: weights.safetensors"),
    "no document": (_in_place_of("bundle.json", lambda path: None), "missing: bundle.json"),
    "extra file": (lambda victim: (victim.path / "setup.py").touch(), "do not belong to a bundle: 'setup.py'"),
    "extra hidden file": (lambda victim: (victim.path / ".pth").touch(), "do not belong"),
    "extra folder": (lambda victim: (victim.path / "__pycache__").mkdir(), "do not belong"),
    "huge weights": (_sparse("weights.safetensors"), "at most"),
    "huge document": (_sparse("bundle.json"), "at most"),
}


@pytest.mark.parametrize("case", FILES)
def test_hostile_files(victim: Victim, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, says = FILES[case]
    change(victim)
    if case == "linked machine":  # the pointer is refused as well
        with pytest.raises(BundleError, match=says):
            read_bundle(victim.path)
        assert all(reason for _, _, reason in victim.registry.verify())
    else:
        refuse(victim, says, monkeypatch)


def test_a_bundle_of_one_machine_does_not_score_another(victim: Victim) -> None:
    victim.registry.save("fan", fitted(1), DETAILS)
    swapped = victim.registry.bundle_path("fan")
    swapped.rename(swapped.with_name("gone"))
    victim.path.rename(swapped)
    with pytest.raises(BundleError, match="machine 'm', whose place is elsewhere"):
        victim.registry.load("fan")


POINTERS: dict[str, tuple[bytes, str]] = {
    "path": (b'{"format": 1, "machine": "m", "current": "../../evil"}', "is no version"),
    "duplicate key": (b'{"machine": "m", "current": "v0001", "current": "v0002"}', "duplicate key"),
    "another machine": (b'{"machine": "x", "current": "v0001"}', "machine 'x'"),
    "no machine": (b'{"current": "v0001"}', "machine"),
    "version that is not there": (b'{"machine": "m", "current": "v0007"}', "there are: v0001"),
    "pickle": (pickle.dumps(Bomb(Path("/tmp/never"))), "not valid JSON"),
    "huge": (b" " * 10**6, "at most"),
    "nested": (b'{"machine": ' + b"[" * 400 + b"]" * 400 + b"}", "current"),
}


@pytest.mark.parametrize("case", POINTERS)
def test_hostile_pointers(victim: Victim, case: str) -> None:
    content, says = POINTERS[case]
    (victim.path.parent / "current").write_bytes(content)
    with pytest.raises(BundleError, match=says):
        victim.registry.load("m")
    assert [reason is None for _, _, reason in victim.registry.verify("m")] == [True, False]


def test_a_linked_pointer_is_refused(victim: Victim) -> None:
    pointer = victim.path.parent / "current"
    pointer.rename(victim.fuse)
    pointer.symlink_to(victim.fuse)
    with pytest.raises(BundleError, match="symbolic link"):
        victim.registry.load("m")

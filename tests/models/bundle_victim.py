"""A healthy bundle to tamper with, and what must hold when it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load, save
from small_models import DETAILS, fitted

from acoustic_ad.detectors.mahalanobis import Mahalanobis
from acoustic_ad.errors import BundleError
from acoustic_ad.models.bundle import read_bundle
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.models.registry import Registry

Arrays = dict[str, Any]


class Bomb:
    """Creates a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


class Victim:
    """A sealed, healthy bundle of machine `m`, to be tampered with."""

    def __init__(self, models: Path, model: MachineModel | None = None) -> None:
        self.registry = Registry(models)
        self.registry.save("m", model or fitted(), DETAILS)
        self.path = models / "m" / "v0001"
        self.json, self.weights = self.path / "bundle.json", self.path / "weights.safetensors"
        self.fuse = models.parent / "the bomb went off"

    def document(self) -> dict[str, Any]:
        return json.loads(self.json.read_text())

    def seal(self, document: dict[str, Any] | None = None) -> None:
        """Make the hashes fit, as an attacker would."""
        document = document or self.document()
        content = self.weights.read_bytes()
        if isinstance(document.get("files"), dict) and "weights.safetensors" in document["files"]:
            facts = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            document["files"]["weights.safetensors"] = facts
        document.pop("digest", None)
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        self.json.write_text(json.dumps({**document, "digest": hashlib.sha256(text.encode()).hexdigest()}))

    def put_weights(self, content: bytes) -> None:
        self.weights.write_bytes(content)
        self.seal()

    def put_arrays(self, change: Callable[[Arrays], Any]) -> None:
        arrays = {name: value.copy() for name, value in load(self.weights.read_bytes()).items()}
        change(arrays)
        self.put_weights(save(arrays))

    def put_text(self, old: str, new: str) -> None:
        text = self.json.read_text()
        assert old in text
        self.json.write_text(text.replace(old, new, 1))


def refuse(victim: Victim, says: str, monkeypatch: pytest.MonkeyPatch, built: bool = False) -> None:
    """Refused with the reason in one line, nothing executed and, unless `built`, no detector even constructed."""
    if not built:
        monkeypatch.setattr(Mahalanobis, "__init__", lambda *_: pytest.fail("a detector was built"))
    with pytest.raises(BundleError) as caught:
        read_bundle(victim.path)
    message = str(caught.value)
    assert says in message and str(victim.path) in message
    assert "\n" not in message and len(message) < 1000
    assert not victim.fuse.exists()
    assert [reason is None for _, _, reason in victim.registry.verify("m")] == [False]

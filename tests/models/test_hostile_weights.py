"""Gate 10, the arrays: whatever is wrong with them, the bundle is refused with the reason.

The bundle is sealed again after each change, as an attacker would: hashes prove nothing about what they cover.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_victim import Arrays, Victim, refuse

from acoustic_ad.errors import BundleError
from acoustic_ad.models.bundle import read_bundle, read_info


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    return Victim(tmp_path / "models")


def test_a_resealed_bundle_is_a_good_one(victim: Victim) -> None:
    """Or else the cases below would be refused for the wrong reason."""
    victim.put_arrays(lambda arrays: None)
    assert read_bundle(victim.path)[1].machine == "m"


def _header(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _packed(header: str, data: bytes) -> bytes:
    return struct.pack("<Q", len(header.encode())) + header.encode() + data


def _duplicate_key(content: bytes) -> bytes:
    header, data = _header(content)
    text = json.dumps(header)
    return _packed(text[:-1] + f', "normal.level_db": {json.dumps(header["normal.level_db"])}}}', data)


def _with_entry(**changes: Any) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        header, data = _header(content)
        header["normal.level_db"].update(changes)
        return _packed(json.dumps(header), data)

    return change


def _with_metadata(content: bytes) -> bytes:
    header, data = _header(content)
    return _packed(json.dumps({"__metadata__": {"run": "me"}, **header}), data)


WEIGHTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", "not safetensors"),
    "zeros": (lambda content: bytes(len(content)), "not safetensors"),
    "header longer than the file": (lambda content: struct.pack("<Q", 2**62) + content[8:], "not safetensors"),
    "header is no JSON": (lambda content: _packed("{oops", b""), "not valid JSON"),
    "header is a list": (lambda content: _packed("[1, 2]", b""), "not a JSON object"),
    "header nested for ever": (lambda content: _packed("[" * 100_000, b""), "not valid JSON"),
    "truncated data": (lambda content: content[:-8], "not safetensors"),
    "surplus data": (lambda content: content + b"x" * 8, "not safetensors"),
    "duplicate key": (_duplicate_key, "duplicate key 'normal.level_db'"),
    "metadata": (_with_metadata, "__metadata__"),
    "overlapping": (_with_entry(data_offsets=[0, 128]), "not safetensors"),
    "offsets beyond the end": (_with_entry(data_offsets=[2**40, 2**40 + 128]), "not safetensors"),
    "negative shape": (_with_entry(shape=[-16]), "not safetensors"),
    "shape that overflows": (_with_entry(shape=[2**62, 2**62]), "not safetensors"),
    "shape of another size": (_with_entry(shape=[17]), "not safetensors"),
    "unknown kind": (_with_entry(dtype="PICKLE"), "of kind 'PICKLE'"),
    "half precision": (_with_entry(dtype="BF16"), "of kind 'BF16'"),
    "entry is no table": (lambda content: _packed('{"a": 3}', b""), "of kind None"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_hostile_weights_files(victim: Victim, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, says = WEIGHTS[case]
    victim.put_weights(change(victim.weights.read_bytes()))
    refuse(victim, says, monkeypatch)


def _set(name: str, value: Any) -> Callable[[Arrays], Any]:
    return lambda arrays: arrays.update({name: np.asarray(value)})


def _poke(name: str, value: float) -> Callable[[Arrays], Any]:
    return lambda arrays: arrays[name].reshape(-1).__setitem__(0, value)


SCORER = "scorer.residual.mahalanobis"
ARRAYS: dict[str, tuple[Callable[[Arrays], Any], str]] = {
    "NaN in the detector": (_poke("detector.precision", np.nan), "NaN or Inf"),
    "Inf in the normaliser": (_poke("normaliser.mean", np.inf), "NaN or Inf"),
    "NaN in the scorer": (_poke(f"{SCORER}.whitening", np.nan), "NaN or Inf"),
    "NaN in the calibration": (_poke("calibration.scores", np.nan), "NaN or Inf"),
    "NaN in an extra array": (_set("more", [np.nan]), "NaN or Inf"),
    "no arrays": (lambda arrays: arrays.clear(), "calibration.scores"),
    "missing detector array": (lambda arrays: arrays.pop("detector.mean"), "missing"),
    "missing scorer array": (lambda arrays: arrays.pop(f"{SCORER}.location"), "whitening"),
    "missing weight of a statistic": (lambda arrays: arrays.pop(f"{SCORER}.weight"), "weights"),
    "negative weight": (_poke(f"{SCORER}.weight", -1.0), "weights"),
    "weights that are all 0": (_poke(f"{SCORER}.weight", 0.0), "all 0"),
    "another statistic": (_set("scorer.power.mahalanobis.location", np.zeros(16)), "needs"),
    "a statistic that there is not": (_set("scorer.os.system.location", np.zeros(16)), "knows no array"),
    "a judge in a model of one": (_set("judge_0.scorer.weight", np.ones(1)), "judge_0"),
    "a combination in a model of one": (_set("combination.mean", np.ones(1)), "combination"),
    "missing normaliser array": (lambda arrays: arrays.pop("normaliser.deviation"), "normaliser"),
    "missing level": (lambda arrays: arrays.pop("normal.level_db"), "level_db"),
    "missing calibration": (lambda arrays: arrays.pop("calibration.scores"), "calibration.scores"),
    "extra part": (_set("hook.code", [1.0]), "hook"),
    "extra detector array": (_set("detector.more", [1.0]), "more"),
    "extra normaliser array": (_set("normaliser.more", [1.0]), "more"),
    "extra calibration array": (_set("calibration.more", [1.0]), "calibration.more"),
    "array without a name": (_set("normal", [1.0]), "normal"),
    "detector of another shape": (_set("detector.mean", np.zeros(17)), "detector"),
    "detector of another kind": (_set("detector.mean", np.zeros(16, np.int64)), "mean"),
    "scorer of another shape": (_set(f"{SCORER}.location", np.zeros(17)), "scorer"),
    "scorer of other mels": (
        lambda arrays: arrays.update(
            {f"{SCORER}.location": np.zeros(17), f"{SCORER}.whitening": np.eye(17)},
        ),
        "do not fit together",
    ),
    "normaliser of other mels": (
        lambda arrays: arrays.update({f"normaliser.{name}": np.ones(17, np.float32) for name in ("mean", "deviation")}),
        "mels",
    ),
    "normaliser of a million mels": (
        lambda arrays: arrays.update({f"normaliser.{name}": np.ones(10**6, "f4") for name in ("mean", "deviation")}),
        "mels",
    ),
    "deviation of zero": (_poke("normaliser.deviation", 0.0), "normaliser"),
    "negative deviation": (_poke("normal.residual_deviation", -1.0), "must be positive"),
    "deviation that overflows single precision": (
        _set("normaliser.deviation", np.full(16, 1e300)),
        "normaliser.deviation",
    ),
    "scores that overflow": (_set(f"{SCORER}.whitening", np.full((16, 16), 1e308)), "not a number"),
    "calibration out of order": (lambda arrays: arrays["calibration.scores"][:].__setitem__(0, 1e9), "ascending"),
    "calibration in a table": (_set("calibration.scores", np.ones((4, 5))), "ascending"),
    "calibration in single precision": (_set("calibration.scores", np.ones(20, np.float32)), "F64"),
    "empty calibration": (_set("calibration.scores", np.ones(0)), "at least one score"),
    "calibration of another length": (_set("calibration.scores", np.ones(2000)), "bundle.json says 20"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_hostile_arrays(victim: Victim, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, says = ARRAYS[case]
    victim.put_arrays(change)
    refuse(victim, says, monkeypatch, built=True)


def test_a_flipped_bit_is_found_at_any_place(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = victim.weights.read_bytes()
    for at in range(0, len(whole), 97):
        victim.weights.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(BundleError, match="sha256"):
            read_info(victim.path)
    refuse(victim, "sha256", monkeypatch)

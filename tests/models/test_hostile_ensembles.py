"""Gate 10, ensembles: judges that are missing, surplus, exchanged or of another shape, and members that name files."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_victim import Arrays, Victim, refuse
from small_machine import ensemble_of, recipe_of
from small_models import clips

from acoustic_ad.models.bundle import read_bundle
from acoustic_ad.models.machine_model import MachineModel

LOCATION, WEIGHT = "scorer.spectrum.mahalanobis.location", "scorer.spectrum.mahalanobis.weight"


@functools.cache
def model() -> MachineModel:
    spectrum = recipe_of(name="spectrum", scorer={"statistics": ["spectrum"]})
    small = recipe_of("dae", name="dae", detector={"steps": 20, "hidden": 8}, scorer={"statistics": ["spectrum"]})
    found = MachineModel(ensemble_of(spectrum, small)).fit(clips(0))
    assert found.kept == [0, 1], "both judges are needed for what follows"
    return found


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    return Victim(tmp_path / "models", model())


def test_a_resealed_ensemble_is_a_good_one(victim: Victim) -> None:
    """Or else the cases below would be refused for the wrong reason."""
    victim.put_arrays(lambda arrays: None)
    assert len(read_bundle(victim.path)[0].judges) == 2


def _drop(*starts: str) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        gone = [name for name in arrays if name.startswith(starts)]
        assert gone
        for name in gone:
            del arrays[name]

    return change


def _set(**values: Any) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({name.replace("__", "."): np.asarray(value) for name, value in values.items()})


def _rename(**names: str) -> Callable[[Arrays], None]:
    """Judges by other names; both at once, so that two may be exchanged."""

    def change(arrays: Arrays) -> None:
        moved = {name: name.partition(".") for name in arrays if name.partition(".")[0] in names}
        taken = {old: arrays.pop(old) for old in moved}
        arrays.update({f"{names[judge]}.{rest}".lstrip("."): taken[old] for old, (judge, _, rest) in moved.items()})

    return change


def _one_more(name: str, combined: bool = True) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        copied = {key: value for key, value in arrays.items() if key.startswith("judge_1.")}
        arrays.update({key.replace("judge_1", name, 1): value for key, value in copied.items()})
        if combined:
            arrays["combination.mean"], arrays["combination.deviation"] = np.zeros(3), np.ones(3)

    return change


ARRAYS: dict[str, tuple[Callable[[Arrays], None], str]] = {
    "missing judge": (_drop("judge_1."), "do not fit its members"),
    "no judges": (_drop("judge_"), "keeps its judges"),
    "extra judge": (_one_more("judge_2"), "judge_2"),
    "extra judge that nobody counts": (_one_more("judge_2", combined=False), "judge_2"),
    "judge of a negative number": (_one_more("judge_-1"), "judge_-1"),
    "judge twice": (_one_more("judge_01"), "judge_01"),
    "judge without a number": (_rename(judge_1="judge"), "keeps its judges"),
    "judges exchanged": (_rename(judge_0="judge_1", judge_1="judge_0"), ""),
    "a judge's arrays at the top": (_rename(judge_1=""), "keeps its judges"),
    "extra part": (_set(hook__code=[1.0]), "hook"),
    "array in place of a judge": (_set(judge_0=[1.0]), ""),
    "extra part of a judge": (_set(judge_0__hook__code=[1.0]), "hook"),
    "judge without a scorer": (_drop("judge_0.scorer."), "clip scorer"),
    "judge without a detector": (_drop("judge_0.detector."), "missing"),
    "judge without a normaliser": (_drop("judge_1.normaliser."), "normaliser"),
    "judge of other mels": (
        _set(judge_1__normaliser__mean=np.ones(17, "f4"), judge_1__normaliser__deviation=np.ones(17, "f4")),
        "17 mels, the model of 16",
    ),
    "NaN in a judge": (_set(**{f"judge_1.{LOCATION}": np.full(16, np.nan)}), "NaN or Inf"),
    "scorer of other mels": (_set(**{f"judge_1.{LOCATION}": np.zeros(17)}), "do not fit"),
    "negative weight": (_set(**{f"judge_1.{WEIGHT}": [-1.0]}), "weights"),
    "no combination": (_drop("combination."), "keeps its judges"),
    "combination without deviation": (_drop("combination.deviation"), "mean and deviation"),
    "combination of three": (
        _set(combination__mean=np.zeros(3), combination__deviation=np.ones(3)),
        "do not fit its members",
    ),
    "combination of one": (_set(combination__mean=[0.0], combination__deviation=[1.0]), "do not fit its members"),
    "combination in a table": (_set(combination__mean=np.zeros((1, 2))), "do not fit its members"),
    "deviation of zero": (_set(combination__deviation=[1.0, 0.0]), "do not fit its members"),
    "negative deviation": (_set(combination__deviation=[1.0, -1.0]), "do not fit its members"),
    "NaN in the combination": (_set(combination__mean=[np.nan, 0.0]), "NaN or Inf"),
    "combination that overflows": (_set(combination__deviation=[1e-320, 1e-320]), "not a number"),
    "combination in single precision": (_set(combination__mean=np.zeros(2, "f4")), "float64"),
    "extra array in the combination": (_set(combination__more=[1.0]), "mean and deviation"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_hostile_judges(victim: Victim, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, says = ARRAYS[case]
    victim.put_arrays(change)
    refuse(victim, says, monkeypatch, built=True)


def _nested(recipe: dict[str, Any], depth: int) -> dict[str, Any]:
    for _ in range(depth):
        recipe = {"name": "nested", "members": [recipe]}
    return recipe


def _member(number: int, table: str, **changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda recipe: recipe["members"][number][table].update(changes)


RECIPES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "member by name": (lambda recipe: recipe["members"].__setitem__(1, "dae"), "recipe.members.1"),
    "all members by name": (lambda recipe: recipe.update(members=["mahalanobis", "dae"]), "recipe.members.0"),
    "member by path": (lambda recipe: recipe["members"].append("recipes/dae.toml"), "recipe.members.2"),
    "members by one name": (lambda recipe: recipe.update(members="dae"), "recipe.members"),
    "member that is a list": (lambda recipe: recipe["members"].__setitem__(0, ["dae"]), "recipe.members.0"),
    "an ensemble of ensembles": (
        lambda recipe: recipe["members"].__setitem__(0, _nested(recipe["members"][0], 1)),
        "ensemble of ensembles",
    ),
    "ensembles without end": (
        lambda recipe: recipe["members"].__setitem__(0, _nested(recipe["members"][0], 60)),
        "bundle.json",
    ),
    "another front-end of a member": (_member(0, "features", n_mels=64), "members.0.features"),
    "another rate of a member": (_member(1, "audio", sample_rate_hz=32_000), "members.1.audio"),
    "unknown detector of a member": (_member(1, "detector", kind="os.system"), "no detector"),
    "unknown option of a member": (_member(1, "detector", hook="x"), "detector.hook"),
    "unknown key of a member": (lambda recipe: recipe["members"][0].update(hook="x"), "recipe.members.0.hook"),
    "unknown way to combine": (lambda recipe: recipe.update(combine="os.system"), "recipe.combine"),
}
# Only building the model shows that its arrays are those of another recipe.
BUILT: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a member less": (lambda recipe: recipe["members"].pop(), "judge_1"),
    "another detector of a member": (_member(0, "detector", kind="dae"), ""),
    "another scorer of a member": (_member(0, "scorer", kind="nearest_neighbour"), "needs"),
    "another statistic of a member": (_member(0, "scorer", statistics=["power"]), "needs"),
    "members exchanged": (lambda recipe: recipe["members"].reverse(), ""),
    "no members": (lambda recipe: recipe.update(members=[], detector={"kind": "mahalanobis"}), "unexpected arrays"),
}


@pytest.mark.parametrize("case", RECIPES | BUILT)
def test_hostile_members(victim: Victim, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, says = (RECIPES | BUILT)[case]
    document = victim.document()
    change(document["recipe"])
    victim.seal(document)
    monkeypatch.setattr(tomllib, "loads", lambda *_: pytest.fail("a recipe file was read"))
    monkeypatch.setattr("acoustic_ad.recipe.load_recipe", lambda *_: pytest.fail("a recipe was looked up"))
    refuse(victim, says, monkeypatch, built=case in BUILT)

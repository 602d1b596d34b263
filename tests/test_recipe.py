"""A recipe is checked in full before anything runs, and says all that is wrong with it at once."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from acoustic_ad.errors import RecipeError, UsageError
from acoustic_ad.health.policy import Policy
from acoustic_ad.recipe import Recipe, load_recipe, parse_recipe
from acoustic_ad.recipe_files import assumption, recipe_files

INSTALLED = recipe_files()
VALID: dict[str, Any] = {
    "name": "valid",
    "audio": {"sample_rate_hz": 16_000},
    "features": {"n_fft": 1024, "fmin_hz": 20.0, "fmax_hz": 8_000.0, "patch_frames": 5},
    "detector": {"kind": "dae", "noise": 0.3},
    "scorer": {"kind": "mahalanobis"},
}


def changed(**keys: Any) -> dict[str, Any]:
    """The valid recipe with dotted keys set, written with two underscores: features__n_fft=0."""
    table = copy.deepcopy(VALID)
    for path, value in keys.items():
        *tables, key = path.split("__")
        place = table
        for name in tables:
            place = place.setdefault(name, {})
        place[key] = value
    return table


def problems(table: dict[str, Any]) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(table, "mine")
    first, *lines = str(caught.value).splitlines()
    assert first == "recipe mine:" and caught.value.exit_code == 2
    return [line.strip() for line in lines]


def paths(table: dict[str, Any]) -> list[str]:
    return [line.split(":")[0] for line in problems(table)]


def test_health_keys_are_those_of_the_policy() -> None:
    """All that `health replay` takes, a recipe takes; what is left out keeps the policy's default."""
    keys = {"alarm_per_machine_year": 0.5, "learning_clips": 20}
    recipe = parse_recipe(changed(health=keys), "mine")
    assert recipe.health.options == keys
    assert Policy.of(recipe.health.options) == replace(Policy(), **keys)
    again = parse_recipe(recipe.model_dump(mode="json"), "bundle")
    assert again == recipe and parse_recipe(VALID, "mine").health.options == {}
    found = problems(changed(health__alarms=1, health__learning_clips=-2, features__n_fft=3))
    assert [line.split(":")[0] for line in found] == ["features.n_fft", "health.alarms", "health.learning_clips"]


def test_recipes_of_older_bundles_still_load() -> None:
    """Their health keys had another meaning, and have none any more."""
    recipe = parse_recipe(changed(health={"window_clips": 20, "unusual_share": 0.5}), "bundle")
    assert recipe.health.options == {}
    assert recipe.model_dump(mode="json")["health"] == {"window_clips": 20, "unusual_share": 0.5}, "digests stay"


def test_recipes_are_installed() -> None:
    assert {"dae", "mahalanobis"} <= INSTALLED.keys()


@pytest.mark.parametrize("name", INSTALLED)
def test_installed_recipes_load_and_say_what_they_assume(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name, "a recipe is called as its file"
    opening = assumption(INSTALLED[name])
    assert "ssumes" in opening and len(opening) > 60
    assert INSTALLED[name].read_text().startswith("# ")
    assert load_recipe(INSTALLED[name]) == recipe and load_recipe(str(INSTALLED[name])) == recipe


@pytest.mark.parametrize("name", INSTALLED)
def test_a_recipe_survives_json(name: str) -> None:
    recipe = load_recipe(name)
    again = parse_recipe(recipe.model_dump(mode="json"), "bundle.json")
    assert again == recipe and again.detector.options == recipe.detector.options


@pytest.mark.parametrize("name", INSTALLED)
def test_recipes_are_frozen(name: str) -> None:
    recipe = load_recipe(name)
    for table, key in (
        (recipe, "seed"),
        (recipe.features, "n_fft"),
        (recipe.detector, "kind"),
        (recipe.detector, "new"),
    ):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(table, key, 1)
    recipe.detector.options["noise"] = 99.0
    assert recipe.detector.options == load_recipe(name).detector.options


def test_the_valid_recipe_is_valid() -> None:
    table = changed()
    recipe = parse_recipe(table, "mine")
    assert isinstance(recipe, Recipe) and recipe.hop_samples == 512
    assert table == VALID, "parsing leaves the table alone"


ONE_PROBLEM: dict[str, tuple[dict[str, Any], str]] = {
    "n_fft of 0": ({"features__n_fft": 0}, "features.n_fft"),
    "odd n_fft": ({"features__n_fft": 1023}, "features.n_fft"),
    "no hop": ({"features__hop_s": 0.0}, "features.hop_s"),
    "hop below a sample": ({"features__hop_s": 1e-6}, "features.hop_s"),
    "fmin above fmax": ({"features__fmin_hz": 5_000.0, "features__fmax_hz": 4_000.0}, "features.fmin_hz"),
    "hop beyond the patch": ({"features__patch_hop_frames": 6}, "features.patch_hop_frames"),
    "fmin at fmax": ({"features__fmin_hz": 4_000.0, "features__fmax_hz": 4_000.0}, "features.fmin_hz"),
    "fmax above Nyquist": ({"features__fmax_hz": 8_001.0}, "features.fmax_hz"),
    "rate below twice fmax": ({"audio__sample_rate_hz": 8_000}, "features.fmax_hz"),
    "nan": ({"features__hop_s": float("nan")}, "features.hop_s"),
    "inf": ({"features__fmax_hz": float("inf")}, "features.fmax_hz"),
    "nan in the detector": ({"detector__noise": float("nan")}, "detector.noise"),
    "inf in the detector": ({"detector__noise": float("inf")}, "detector.noise"),
    "unknown table": ({"featurs": {"n_fft": 512}}, "featurs"),
    "unknown key": ({"features__n_ftt": 512}, "features.n_ftt"),
    "unknown key in the detector": ({"detector__nois": 0.1}, "detector.nois"),
    "unknown detector": ({"detector": {"kind": "typo"}}, "detector.kind"),
    "no kind": ({"detector": {"noise": 0.1}}, "detector.kind"),
    "detector is no table": ({"detector": "dae"}, "detector"),
    "features are no table": ({"features": 3}, "features"),
    "channel": ({"audio__channel": 64}, "audio.channel"),
    "unknown scorer": ({"scorer__kind": "best"}, "scorer.kind"),
    "negative seed": ({"seed": -1}, "seed"),
    "empty name": ({"name": ""}, "name"),
    "one fold": ({"training__folds": 1}, "training.folds"),
}


@pytest.mark.parametrize("what", ONE_PROBLEM)
def test_a_problem_is_named_once_with_the_path_of_its_key(what: str) -> None:
    keys, path = ONE_PROBLEM[what]
    assert paths(changed(**keys)) == [path]


def test_all_problems_come_at_once() -> None:
    table = changed(
        features__n_fft=0,
        features__fmin_hz=9_000.0,
        features__fmax_hz=8_500.0,
        features__hop_s=float("inf"),
        audio__channel=-3,
        detector__nois=0.1,
        detector__steps=0,
        scorer__gwrp_r=float("nan"),
        healht={},
    )
    assert sorted(paths(table)) == [
        "audio.channel",
        "detector.nois",
        "detector.steps",
        "features.fmax_hz",  # above half the sample rate
        "features.fmin_hz",  # above fmax
        "features.hop_s",
        "features.n_fft",
        "healht",
        "scorer.gwrp_r",
    ]


def test_a_wrong_value_brings_no_complaints_about_the_default_in_its_place() -> None:
    # With the default of 16 kHz, 12 kHz would be above half the rate; 48000 written as text is the only mistake.
    assert paths(changed(audio__sample_rate_hz="fast", features__fmax_hz=12_000.0)) == ["audio.sample_rate_hz"]
    assert paths(changed(audio__sample_rate_hz=8_000, features__fmax_hz=float("nan"))) == ["features.fmax_hz"]


def test_problems_say_what_is_wrong_and_what_was_given() -> None:
    found = problems(changed(features__n_fft=0, features__n_ftt=5, features__fmin_hz=8_500.0, detector__steps=0))
    text = "\n".join(found)
    assert "features.n_fft: Input should be greater than or equal to 16 (given: 0)" in text
    assert "features.n_ftt: unknown key (given: 5)" in text
    assert "features.fmin_hz: 8500 is not below features.fmax_hz 8000" in text
    assert "detector.steps: Input should be greater than or equal to 1 (given: 0)" in text


def test_an_unknown_detector_is_answered_with_the_known_ones() -> None:
    (line,) = problems(changed(detector={"kind": "typo"}))
    assert "'typo'" in line and "dae" in line and "mahalanobis" in line


def test_an_empty_recipe_says_what_is_missing() -> None:
    assert paths({}) == ["name", "detector"]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no recipe 'typo'.*dae.*mahalanobis.*\.toml") as caught:
        load_recipe("typo")
    assert caught.value.exit_code == 2


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_recipe(tmp_path / "absent.toml")
    with pytest.raises(UsageError, match="irectory"):
        (tmp_path / "folder.toml").mkdir()
        load_recipe(tmp_path / "folder.toml")
    with pytest.raises(UsageError, match="no recipe"):
        load_recipe(tmp_path / "recipe.yaml")
    for name, content in {"text": b"name = ", "binary": b"\xff\xfe\x00", "twice": b"name = 'a'\nname = 'b'\n"}.items():
        file = tmp_path / f"{name}.toml"
        file.write_bytes(content)
        with pytest.raises(RecipeError, match=f"{name}.toml: not TOML"):
            load_recipe(file)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\nseed = 7\n[detector]\nkind = "dae"\nhidden = 64\n')
    recipe = load_recipe(file)
    assert (recipe.name, recipe.seed, recipe.detector.options) == ("mine", 7, {"hidden": 64})
    file.write_text('name = "mine"\n[features]\nhop_s = nan\nfmax_hz = inf\n[detector]\nkind = "dae"\nnoise = inf\n')
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert str(file) in str(caught.value)
    assert all(path in str(caught.value) for path in ("features.hop_s", "features.fmax_hz", "detector.noise"))


def test_the_opening_comment_is_read_as_one_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('# Assumes a fan\n# that runs.\nname = "mine"\n# not this\n')
    assert assumption(file) == "Assumes a fan that runs."
    file.write_text('name = "mine"\n')
    assert assumption(file) == ""

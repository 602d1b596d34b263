"""Recipes of several members: named in files, whole in bundles, and behind one front-end."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, get_args

import pytest

from acoustic_ad import recipe as recipes
from acoustic_ad.errors import RecipeError, UsageError
from acoustic_ad.recipe import Recipe, load_recipe, parse_recipe
from acoustic_ad.recipe_files import recipe_files
from acoustic_ad.scores import clip_score, evidence

DAE: dict[str, Any] = {"name": "one", "detector": {"kind": "dae"}}
CLOUD: dict[str, Any] = {"name": "two", "features": {"patch_frames": 1}, "detector": {"kind": "mahalanobis"}}
ENSEMBLES = [name for name in recipe_files() if load_recipe(name).members]


def together(*members: Any, **keys: Any) -> dict[str, Any]:
    return copy.deepcopy({"name": "mine", "members": list(members) or [DAE, CLOUD], **keys})


def changed(table: dict[str, Any], **tables: dict[str, Any]) -> dict[str, Any]:
    """A member with some keys of its tables set."""
    return {**table, **{name: {**table.get(name, {}), **keys} for name, keys in tables.items()}}


def paths(table: dict[str, Any]) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(table, "mine")
    first, *lines = str(caught.value).splitlines()
    assert first == "recipe mine:"
    return [line.strip().split(": ")[0] for line in lines]


def test_the_names_are_those_of_the_scores() -> None:
    assert get_args(recipes.Statistic) == get_args(evidence.Statistic)
    assert get_args(recipes.ScorerKind) == get_args(clip_score.ScorerKind)


def test_members_that_are_named_are_put_in_whole(tmp_path: Path) -> None:
    file, own = tmp_path / "mine.toml", tmp_path / "own.toml"
    own.write_text('name = "own"\n[detector]\nkind = "dae"\nhidden = 7\n')
    inline = '{name = "inline", detector = {kind = "mahalanobis"}}'
    file.write_text(f'name = "mine"\nmembers = ["dae", "{own}", {inline}]\n')
    recipe = load_recipe(file)
    assert [member.name for member in recipe.members] == ["dae", "own", "inline"]
    assert recipe.members[0] == load_recipe("dae") and recipe.members[1] == load_recipe(own)
    assert recipe.detector.kind == "ensemble" and not recipe.detector.options and recipe.combine == "mean"


def test_there_are_installed_ensembles() -> None:
    assert {"ensemble", "auto"} <= set(ENSEMBLES)
    assert load_recipe("auto").combine == "best"


@pytest.mark.parametrize("name", ENSEMBLES)
def test_an_ensemble_in_json_names_no_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(name)
    table = recipe.model_dump(mode="json")
    assert len(table["members"]) > 1 and all(isinstance(member, dict) for member in table["members"])
    for reads in ("read_text", "read_bytes", "open"):
        monkeypatch.setattr(Path, reads, lambda *_, **__: pytest.fail("a file was opened"))
    assert parse_recipe(table, "bundle.json") == recipe


@pytest.mark.parametrize("member", ["dae", "recipes/dae.toml", "/etc/passwd", "typo", ""])
@pytest.mark.parametrize("place", [0, 1])
def test_a_name_in_place_of_a_table_is_refused_and_opens_nothing(
    member: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reads in ("read_text", "read_bytes", "open"):
        monkeypatch.setattr(Path, reads, lambda *_, **__: pytest.fail("a file was opened"))
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("a file was opened"))
    members: list[Any] = [DAE, CLOUD]
    members[place] = member
    assert f"members.{place}" in paths(together(*members))


def test_a_member_that_there_is_not_is_answered_with_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\nmembers = ["dae", "typo"]\n')
    with pytest.raises(UsageError, match=r"no recipe 'typo'.*dae.*mahalanobis"):
        load_recipe(file)


def test_the_judges_are_the_members_but_masters_of_their_detector_only() -> None:
    training = {"folds": 3}
    recipe = parse_recipe(together({**DAE, "seed": 5, "group": "machine_type"}, seed=9, training=training), "mine")
    (judge,) = recipe.judges
    assert (judge.seed, judge.group, judge.training.folds, judge.name) == (9, "machine", 3, "one")
    assert judge.detector == recipe.members[0].detector and judge.scorer == recipe.members[0].scorer
    alone = parse_recipe(DAE, "mine")
    assert alone.judges == (alone,)


def test_it_chooses_where_there_is_a_choice() -> None:
    def chooses(table: dict[str, Any]) -> bool:
        return parse_recipe(table, "mine").chooses

    assert chooses(together()) and chooses({**DAE, "scorer": {"kind": "auto"}})
    assert chooses(together({**DAE, "scorer": {"kind": "auto"}}))
    assert not chooses(DAE) and not chooses(together(DAE))
    assert chooses(changed(DAE, scorer={"statistics": ["residual", "power"]}))
    assert chooses(changed(DAE, scorer={"clouds": ["power"]}))
    assert not chooses(changed(DAE, scorer={"kind": "paper", "clouds": ["power"]}))


def test_members_may_differ_in_their_patches_and_in_nothing_else_of_the_front_end() -> None:
    patches = changed(DAE, features={"patch_frames": 64, "patch_hop_frames": 32})
    assert isinstance(parse_recipe(together(patches, CLOUD), "mine"), Recipe)
    own: dict[str, Any] = {"n_mels": 64, "n_fft": 2048, "hop_s": 0.016, "fmin_hz": 50.0, "fmax_hz": 4000.0}
    for key, value in {**own, "remove_level": True}.items():
        other = changed(DAE, features={key: value})
        assert paths(together(CLOUD, other)) == ["members.1.features"], key
        assert paths(together(DAE, other, features={key: value})) == ["members.0.features"], key
    for audio in ({"sample_rate_hz": 32_000}, {"channel": 0}):
        assert paths(together(changed(DAE, audio=audio), CLOUD)) == ["members.0.audio"]


def test_an_ensemble_of_ensembles_is_refused(tmp_path: Path) -> None:
    assert paths(together(DAE, together(CLOUD))) == ["members.1.members"]
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\nmembers = ["dae", "ensemble"]\n')
    with pytest.raises(RecipeError, match="list all their members"):
        load_recipe(file)


def test_members_and_a_detector_are_too_much_and_neither_is_too_little() -> None:
    assert paths(together(detector={"kind": "dae"})) == ["detector"]
    assert paths(together(detector={"kind": "ensemble", "hidden": 3})) == ["detector"]
    assert paths({"name": "mine", "members": []}) == ["detector"]
    assert paths({"name": "mine", "detector": {"kind": "ensemble"}}) == ["members"]
    assert isinstance(parse_recipe(together(detector={"kind": "ensemble"}), "mine"), Recipe)


def test_all_problems_of_all_members_come_at_once() -> None:
    table = together(
        changed(DAE, features={"fmin_hz": 9_000.0}, detector={"nois": 0.1, "steps": 0}),
        changed(CLOUD, audio={"sample_rate_hz": 8_000}, detector={"kind": "typo"}),
        together(DAE),
    )
    assert sorted(paths(table)) == [
        "members.0.detector.nois",
        "members.0.detector.steps",
        "members.0.features",
        "members.0.features.fmin_hz",
        "members.1.audio",
        "members.1.detector.kind",
        "members.1.features.fmax_hz",
        "members.2.members",
    ]


def test_wrong_values_of_all_members_come_at_once() -> None:
    table = together(
        changed(DAE, features={"n_fft": 0, "n_ftt": 512}),
        changed(CLOUD, scorer={"kind": "best", "statistics": ["loudness"]}),
        combine="worst",
    )
    assert set(paths(table)) >= {
        "members.0.features.n_fft",
        "members.0.features.n_ftt",
        "members.1.scorer.kind",
        "members.1.scorer.statistics.0",
        "combine",
    }

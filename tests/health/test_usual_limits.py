"""The limits that come with the package are those that would be found, and usual machines need no others."""

from __future__ import annotations

import dataclasses
import json
from importlib.resources import files

import numpy as np
import pytest

from acoustic_ad.health import search
from acoustic_ad.health.limit_text import kind_json, limits_json, read_limits, usual_limits
from acoustic_ad.health.limits import Facts, limits
from acoustic_ad.health.policy import Policy
from acoustic_ad.health.search import SEARCH_VERSION, Found, Kind, remember_limits


def test_they_are_of_this_search_and_policy() -> None:
    """Else: python benchmarks/usual_limits.py --write acoustic_ad/health/usual_limits.json"""
    said = json.loads(files("acoustic_ad.health").joinpath("usual_limits.json").read_text("utf-8"))
    assert (said["version"], said["policy"]) == (SEARCH_VERSION, dataclasses.asdict(Policy()))
    assert len(usual_limits()) == len(said["found"]) > 600
    assert {kind.policy for kind in usual_limits()} == {Policy()}


@pytest.mark.parametrize("number", [0, 250, 500, 629])
def test_they_are_what_the_search_finds(number: int) -> None:
    """But for digits, of which another processor computes the last ones otherwise."""
    kind, told = list(usual_limits().items())[number]
    found = search._searched(kind)
    for mine, theirs in ((told.warning, found.warning), (told.alarm, found.alarm)):
        np.testing.assert_allclose(mine.limit, theirs.limit, rtol=0.01)
        np.testing.assert_allclose(mine.per_year, theirs.per_year, rtol=0.1)
        assert mine.kept == theirs.kept


@pytest.mark.parametrize("clips, sessions", [(24, 6), (100, 25), (250, 3), (480, 480)])
@pytest.mark.parametrize("autocorrelation", [-0.2, 0.0, 0.4, 0.75])
@pytest.mark.parametrize("a_day", [8, 24, 144])
def test_a_usual_machine_needs_no_simulation(
    clips: int, sessions: int, autocorrelation: float, a_day: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def simulated(kind: Kind) -> Found:
        raise AssertionError(f"{kind} is not among the usual limits")

    monkeypatch.setattr(search, "_known", {})
    monkeypatch.setattr(search, "_searched", simulated)
    remember_limits(usual_limits())
    found = limits(Policy(), Facts(clips, sessions, autocorrelation, 365.25 * a_day))
    assert all(0 < chart.warning < chart.alarm for chart in found.charts)


def test_text_gives_them_back_and_damage_gives_none() -> None:
    kind, found = next(iter(usual_limits().items()))
    said = (kind_json(kind), limits_json(found))
    ((again, told),) = read_limits([said])
    assert again == kind and limits_json(told) == limits_json(found)
    other = {**said[0], "version": SEARCH_VERSION + 1}
    short = {**said[1], "alarm": {**said[1]["alarm"], "limit": [1.0]}}
    assert list(read_limits([(other, said[1]), (said[0], short), (None, None), (said[0], {})])) == []

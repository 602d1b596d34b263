"""A small demonstration to its end: the table, the evaluation, a machine that fails, and the page of all of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from written_page import Page

from acoustic_ad.cli_demo import write_demo_page
from acoustic_ad.jobs.demo import DEMO_LIFE, LIFE_OF, Demo, run_demo
from acoustic_ad.sound.simulate import DEMO_FLEET, FleetOptions, plan_fleet, plan_run_to_failure
from acoustic_ad.sound.simulated_run import RunOptions

FLEET: FleetOptions = {
    "types": ("fan",), "machines_per_type": 1, "train_clips": 12, "test_normal": 3, "test_anomaly": 3,
    "duration_s": 1.0, "snr_db": 6.0, "seed": 0,
}  # fmt: skip
LIFE: RunOptions = {
    "days": 16, "clips_per_day": 4, "seed": 2, "start": datetime(2025, 12, 28, tzinfo=UTC), "fault": "rub",
    "onset_day": 8.0, "failure_day": 14.0, "train_days": 5, "duration_s": 1.0,
}  # fmt: skip


def test_a_demo_ends_with_its_page(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    demo = Demo(tmp_path / "demo", str(recipe), 1, said.append, said.append, lambda *news: None)
    run_demo(demo, only_simulate=False, fleet=FLEET, life=LIFE)
    write_demo_page(demo)
    out = tmp_path / "demo" / "report.html"
    printed = capsys.readouterr()
    assert f"The page is {out} (" in printed.out and "acoustic-ad report " in printed.err
    page = Page(out)
    assert sorted(page.names) == ["fan/id_00", LIFE_OF]
    life = page.data["details"][LIFE_OF]
    assert len(life["story"]["t"]) == 11 * 4 and life["story"]["span"] > 10 * 86400
    faults = page.data["details"]["fan/id_00"]["model"]["labelled"]["faults"]
    assert faults and sum(one["n"] for one in faults) == 3, "kinds of faults by the manifest"
    assert (tmp_path / "demo" / "scores.csv").read_text().count("fan/id_00") >= 6


def test_the_machine_that_fails_ends_when_the_fleet_was_last_recorded() -> None:
    """Seen from the end of the one, the others must not have been silent for long."""
    fleet = max(clip.recorded_at for clip in plan_fleet(**DEMO_FLEET))
    life = max(clip.recorded_at for clip in plan_run_to_failure(LIFE_OF, **DEMO_LIFE))
    assert abs((fleet - life).total_seconds()) < 12 * 3600

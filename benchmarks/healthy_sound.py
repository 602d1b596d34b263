"""False alarms of healthy machines from their sound on: part `sound` of health.py.

Healthy machines are simulated as sound, each day a recording with its own speed, level and hall. A model learns the
first days, and every later clip is scored by it; the health of the machine is told as it stands, with its default
policy. A false alarm is an episode raised.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.health.limits import Limits
from acoustic_ad.health.policy import Policy
from acoustic_ad.health.timeline import ClipPoint, MachineHealth, machine_health
from acoustic_ad.jobs.baselines import baseline_of
from acoustic_ad.jobs.clip_work import feature_spec
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.recipe import load_recipe
from acoustic_ad.sound.features import LogMel
from acoustic_ad.sound.simulate import plan_run_to_failure

FloatArray = npt.NDArray[np.float64]
LogMels = list[npt.NDArray[np.float32]]

HEARD: Final = ("fan", "pump", "gearbox", "valve", "motor")
DAYS, LEARNT_DAYS, A_DAY, CLIP_S = 80, 20, 6, 2.0
NINETY: Final = 1.2816  # z with p = .1


def healthy_sound(seed: int, machines: int, recipes: Sequence[str]) -> str:
    """False alarms of healthy machines by models of their sound, advertised and measured."""
    rows = []
    sounds = [log_mels(f"{HEARD[number % 5]}/id_{number:02d}", seed) for number in range(machines)]
    for recipe in recipes:
        found = [heard(recipe, *sound) for sound in sounds]
        health, z = [one for one, _ in found], np.array([one for _, one in found])
        years = machines * (DAYS - LEARNT_DAYS) / 365.25
        said = np.mean([(limits_of(one).warnings_per_year, limits_of(one).alarms_per_year) for one in health], axis=0)
        counts = np.sum([excursions(one) for one in health], axis=0)
        bias = z.mean(axis=1)
        rows.append([
            recipe, f"{said[0]:.1f}", _rate(counts[0], years), f"{said[1]:.2f}", _rate(counts[1], years),
            f"{z.mean():+.2f} ({bias.min():+.2f} to {bias.max():+.2f})", f"{(z > NINETY).mean():.1%}",
        ])  # fmt: skip
    header = ["recipe", "WARNINGs said", "measured", "ALARMs said", "measured", "mean z", "clips with p < .1"]
    return (
        f"False alarms a machine-year of {machines} healthy machines by their sound: {LEARNT_DAYS} days to learn from, "
        f"{DAYS - LEARNT_DAYS} days to judge, {A_DAY} clips of {CLIP_S:g} s a day, 6 dB above the hall:\n\n"
        + markdown(header, rows)
    )


def _rate(count: int, years: float) -> str:
    """Episodes a year, and how many were counted."""
    return f"{count / years:.1f} ({count} in {years:.2g} years)"


def log_mels(machine: str, seed: int) -> tuple[LogMels, list[str], list[datetime]]:
    """Clips [frames, mels] of a healthy machine, their days and times."""
    clips = plan_run_to_failure(machine, days=DAYS, clips_per_day=A_DAY, seed=seed, duration_s=CLIP_S)
    log_mel = LogMel(feature_spec(load_recipe("mahalanobis")))
    mels = [log_mel(clip.render()) for clip in clips]
    return mels, [clip.session.name for clip in clips], [clip.recorded_at for clip in clips]


def heard(recipe: str, mels: LogMels, days: list[str], times: list[datetime]) -> tuple[MachineHealth, FloatArray]:
    """The health after the clips that follow those learnt, and their z's."""
    learnt = LEARNT_DAYS * A_DAY
    model = MachineModel(load_recipe(recipe)).fit(mels[:learnt], days[:learnt])
    if model.calibration is None:
        raise RuntimeError(f"{recipe}: nothing was learnt")
    baseline = baseline_of(model.calibration)
    z = baseline.z_all([model.score(mel).score for mel in mels[learnt:]])
    points = [ClipPoint(at, "scored", one, "", "model") for at, one in zip(times[learnt:], z.tolist(), strict=True)]
    return machine_health(Policy(), {"model": baseline}, points), z


def excursions(health: MachineHealth) -> tuple[int, int]:
    """WARNINGs, those that were ALARMs at once or later included, and ALARMs."""
    grown = sum(one.cleared_by == "became an alarm" for one in health.episodes)
    return len(health.episodes) - grown, sum(one.level == "alarm" for one in health.episodes)


def limits_of(health: MachineHealth) -> Limits:
    """The limits of a machine that was heard."""
    if health.limits is None:
        raise RuntimeError("a machine with scored clips has no limits")
    return health.limits


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

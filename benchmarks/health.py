"""What the health of a machine promises, measured: false alarms on healthy machines, and how soon a change is found.

    python benchmarks/health.py [--quick] [--seed 0] [--part alarms laws delays sound] [--recipes mahalanobis dae]

Machines are simulated as scores: Gaussian, 144 clips a day, independent or AR(1) with a correlation of .9 between
neighbouring clips. Each gets calibration clips of its own, in recordings of 50, and is then judged by
`acoustic_ad.health`, as it stands, with its default policy. A false alarm is an episode raised on a healthy machine.

Part `sound` is about all that lies before the scores: healthy machines are simulated as sound, each day a recording
with its own speed, level and hall; a model learns the first days, and every later clip is scored by it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter
from scipy.special import ndtr
from scipy.stats import chi2
from scipy.stats import t as student

from acoustic_ad.health.baseline import Baseline
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
Chart = Callable[[FloatArray], FloatArray]

CLIPS_A_DAY: Final = 144
MONTH: Final = round(CLIPS_A_DAY * 365.25 / 12)
RECORDING: Final = 50  # calibration clips in a row
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
TIMES: Final = [START + timedelta(days=number / CLIPS_A_DAY) for number in range(4 * MONTH)]
KINDS: Final = {"independent": 0.0, "AR(1) .9": 0.9}
SETS: Final = (50, 200, 1000)
DELAY_SETS: Final = (200, 1000)


LAWS: Final[dict[str, Callable[[FloatArray], FloatArray]]] = {
    "chi-squared, 8 degrees": lambda x: chi2.ppf(ndtr(x), 8),
    "lognormal, sigma .5": lambda x: np.exp(0.5 * x),
    "lognormal, sigma 1": np.exp,
    "Student's t, 3 degrees": lambda x: student.ppf(ndtr(x), 3),
    "uniform": ndtr,
}


def scores(rng: np.random.Generator, rho: float, clips: int) -> FloatArray:
    """Scores [clips] of unit variance; those of neighbouring clips have correlation rho."""
    noise = rng.standard_normal(clips)
    noise[0] /= np.sqrt(1 - rho**2)
    found: FloatArray = lfilter([np.sqrt(1 - rho**2)], [1.0, -rho], noise)
    return found


def calibrated(rng: np.random.Generator, rho: float, clips: int) -> Baseline:
    """A baseline of recordings that are 50 clips long."""
    parts = [scores(rng, rho, RECORDING) for _ in range(clips // RECORDING)]
    return Baseline.of(np.concatenate(parts), np.repeat(np.arange(len(parts)), RECORDING))


def health_of(baseline: Baseline, following: FloatArray, policy: Policy) -> MachineHealth:
    """The health after scores [T] that follow the calibration."""
    z = baseline.z_all(following).tolist()
    points = [ClipPoint(at, "scored", one, "", "model") for at, one in zip(TIMES, z, strict=False)]
    return machine_health(policy, {"model": baseline}, points)


def excursions(health: MachineHealth) -> tuple[int, int]:
    """WARNINGs, those that were ALARMs at once or later included, and ALARMs."""
    grown = sum(one.cleared_by == "became an alarm" for one in health.episodes)
    return len(health.episodes) - grown, sum(one.level == "alarm" for one in health.episodes)


# --- false alarms ----------------------------------------------------------------------------------------------------


def false_alarms(seed: int, machines: int) -> str:
    """Advertised and measured false alarms of healthy machines in the first month after their calibration."""
    rows = []
    for kind, rho in KINDS.items():
        for clips in SETS:
            rng = np.random.default_rng([seed, clips, round(10 * rho)])
            promised, counted = [], []
            for _ in range(machines):
                health = health_of(calibrated(rng, rho, clips), scores(rng, rho, MONTH), Policy())
                found = limits_of(health)
                promised.append(
                    (found.warnings_per_year, found.alarms_per_year, *found.alarms_between, found.attainable)
                )
                counted.append(excursions(health))
            said, seen = np.mean(promised, axis=0), 12 * np.array(counted)
            error = seen.std(axis=0) / np.sqrt(machines)
            rows.append([
                kind, f"{clips}", f"{said[0]:.1f}", f"{seen[:, 0].mean():.1f} ± {error[0]:.1f}",
                f"{said[1]:.2f} ({said[2]:.2f}-{said[3]:.2f})", f"{seen[:, 1].mean():.2f} ± {error[1]:.2f}",
                f"{1 - said[4]:.0%}",
            ])  # fmt: skip
    header = [
        "scores", "calibration clips", "WARNINGs said", "measured", "ALARMs said", "measured", "out of reach",
    ]  # fmt: skip
    return f"False alarms a machine-year, {machines} machine-months each:\n\n{markdown(header, rows)}"


def limits_of(health: MachineHealth) -> Limits:
    """The limits of a machine that was heard."""
    if health.limits is None:
        raise RuntimeError("a machine with scored clips has no limits")
    return health.limits


def other_laws(seed: int, machines: int) -> str:
    """False alarms where scores are not Gaussian, as they are in the simulation behind the limits."""
    rows = []
    for name, law in LAWS.items():
        row = [name]
        for clips in SETS:
            rng = np.random.default_rng([seed, 2, clips])
            counted = []
            for _ in range(machines):
                known = calibrated(rng, 0.0, clips)
                baseline = Baseline.of(law(known.scores), known.sessions)
                counted.append(excursions(health_of(baseline, law(scores(rng, 0.0, MONTH)), Policy())))
            warnings, alarms = 12 * np.mean(counted, axis=0)
            row.append(f"{warnings:.1f}, {alarms:.2f}")
        rows.append(row)
    table = markdown(["independent scores", *(f"{clips} calibration clips" for clips in SETS)], rows)
    return f"False WARNINGs and ALARMs a machine-year, {machines} machine-months each, 12 and 1 promised:\n\n{table}"


# --- delays ----------------------------------------------------------------------------------------------------------


def ewma(weight: float) -> Chart:
    """An EWMA of z's [..., T]."""
    return lambda z: lfilter([weight], [1.0, weight - 1.0], z)


def three_of_five(z: FloatArray) -> FloatArray:
    """The third highest of the latest five z's [..., T]."""
    padded = np.concatenate([np.full((*z.shape[:-1], 4), -9.0), z], axis=-1)
    found: FloatArray = np.sort(np.lib.stride_tricks.sliding_window_view(padded, 5, axis=-1), axis=-1)[..., 2]
    return found


RIVALS: Final[dict[str, Chart]] = {
    "plain threshold": lambda z: z,
    "3 of 5": three_of_five,
    "EWMA, weight .1": ewma(0.1),
    "EWMA, weight .2": ewma(0.2),
}
OURS: Final = "acoustic_ad.health"
BEFORE: Final = 600  # healthy clips before the change
CHANGES: Final[dict[str, FloatArray]] = {
    **{f"{size} sigma": np.full(MONTH, size, np.float64) for size in (1, 2, 3)},
    "3 sigma in 30 days": np.linspace(0.0, 3.0 * MONTH / (30 * CLIPS_A_DAY), MONTH),
}


def delays(seed: int, machines: int) -> str:
    """Clips from a change to the ALARM, ours and the rivals' with limits for the same measured false alarms."""
    parts = []
    for kind, rho in KINDS.items():
        for clips in DELAY_SETS:
            rng = np.random.default_rng([seed, 1, clips, round(10 * rho)])
            parts.append(delay_table(rng, kind, rho, clips, machines))
    return "\n\n".join(parts)


def delay_table(rng: np.random.Generator, kind: str, rho: float, clips: int, machines: int) -> str:
    """The delays for one kind of scores and one size of the calibration set."""
    baselines = [calibrated(rng, rho, clips) for _ in range(2 * machines)]
    healthy = [scores(rng, rho, MONTH) for _ in baselines]
    ours = [first_alarm(health_of(*pair, Policy()), 0) is not None for pair in zip(baselines, healthy, strict=True)]
    share = max(float(np.mean(ours)), 1 / len(ours))
    z = np.array([baseline.z_all(one) for baseline, one in zip(baselines, healthy, strict=True)])
    limit = {name: float(np.quantile(chart(z).max(axis=1), 1 - share)) for name, chart in RIVALS.items()}
    rows: dict[str, list[str]] = {name: [name] for name in (OURS, *RIVALS)}
    for change in CHANGES.values():
        changed = [scores(rng, rho, BEFORE + MONTH) + np.append(np.zeros(BEFORE), change) for _ in range(machines)]
        z = np.array([baseline.z_all(one) for baseline, one in zip(baselines, changed, strict=False)])
        mine = [health_of(*pair, Policy()) for pair in zip(baselines, changed, strict=False)]
        rows[OURS].append(cell([delay for one in mine if (delay := first_alarm(one, BEFORE)) != 0]))
        for name, chart in RIVALS.items():
            rows[name].append(cell(rival_delays(chart(z) >= limit[name])))
    title = (
        f"Clips until the ALARM: {kind} scores, {clips} calibration clips, false alarms in {share:.1%} of all months"
    )
    return f"{title}\n\n{markdown(['', *CHANGES], list(rows.values()))}"


def first_alarm(health: MachineHealth, since: int) -> int | None:
    """Clips from clip `since` to the first ALARM after it; 0 if one came before, None if none came."""
    raised = [one.raised_at for one in health.episodes if one.level == "alarm"]
    if not raised:
        return None
    return max(round((raised[0] - START) / timedelta(days=1) * CLIPS_A_DAY) - since + 1, 0)


def rival_delays(hit: npt.NDArray[np.bool_]) -> list[int | None]:
    """As `first_alarm`, for rules that hit [machines, T], of machines without one before the change."""
    quiet = hit[~hit[:, :BEFORE].any(axis=1), BEFORE:]
    return [int(row.argmax()) + 1 if row.any() else None for row in quiet]


def cell(found: Sequence[int | None]) -> str:
    """Mean and median delay; what is not found within the month counts as a month, and is said."""
    missed = sum(one is None for one in found) / max(len(found), 1)
    clips = [MONTH if one is None else one for one in found]
    mean, median = float(np.mean(clips)), float(np.median(clips))
    share = f"; {missed:.0%} missed" if missed >= 0.005 else ""
    return f"{mean:.{1 if mean < 100 else 0}f} ({median:.0f}{share})"


# --- sound -----------------------------------------------------------------------------------------------------------

HEARD: Final = ("fan", "pump", "gearbox", "valve", "motor")
SOUND_DAYS, LEARNT_DAYS, A_DAY, CLIP_S = 80, 20, 6, 2.0


def healthy_sound(seed: int, machines: int, recipes: Sequence[str]) -> str:
    """False alarms of healthy machines by models of their sound, advertised and measured."""
    rows = []
    sounds = [log_mels(f"{HEARD[number % 5]}/id_{number:02d}", seed) for number in range(machines)]
    for recipe in recipes:
        found = [heard(recipe, *sound) for sound in sounds]
        health, z = [one for one, _ in found], np.array([one for _, one in found])
        years = machines * (SOUND_DAYS - LEARNT_DAYS) / 365.25
        said = np.mean([(limits_of(one).warnings_per_year, limits_of(one).alarms_per_year) for one in health], axis=0)
        counts = np.sum([excursions(one) for one in health], axis=0)
        rows.append([
            recipe, f"{said[0]:.1f}", _rate(counts[0], years), f"{said[1]:.2f}", _rate(counts[1], years),
            f"{z.mean():+.2f} ({z.mean(axis=1).min():+.2f} to {z.mean(axis=1).max():+.2f})", f"{(z > NINETY).mean():.1%}",
        ])  # fmt: skip
    header = ["recipe", "WARNINGs said", "measured", "ALARMs said", "measured", "mean z", "clips with p < .1"]
    return (
        f"False alarms a machine-year of {machines} healthy machines by their sound: {LEARNT_DAYS} days to learn from, "
        f"{SOUND_DAYS - LEARNT_DAYS} days to judge, {A_DAY} clips of {CLIP_S:g} s a day, 6 dB above the hall:\n\n"
        + markdown(header, rows)
    )


NINETY: Final = 1.2816  # z with p = .1


def _rate(count: int, years: float) -> str:
    """Episodes a year, and how many were counted."""
    return f"{count / years:.1f} ({count} in {years:.2g} years)"


def log_mels(machine: str, seed: int) -> tuple[list[npt.NDArray[np.float32]], list[str], list[datetime]]:
    """Clips [frames, mels] of a healthy machine, their days and times."""
    clips = plan_run_to_failure(machine, days=SOUND_DAYS, clips_per_day=A_DAY, seed=seed, duration_s=CLIP_S)
    log_mel = LogMel(feature_spec(load_recipe("mahalanobis")))
    mels = [log_mel(clip.render()) for clip in clips]
    return mels, [clip.session.name for clip in clips], [clip.recorded_at for clip in clips]


def heard(
    recipe: str, mels: list[npt.NDArray[np.float32]], days: list[str], times: list[datetime]
) -> tuple[MachineHealth, FloatArray]:
    """The health after the clips that follow those learnt, and their z's."""
    learnt = LEARNT_DAYS * A_DAY
    model = MachineModel(load_recipe(recipe)).fit(mels[:learnt], days[:learnt])
    if model.calibration is None:
        raise RuntimeError(f"{recipe}: nothing was learnt")
    baseline = baseline_of(model.calibration)
    z = baseline.z_all([model.score(mel).score for mel in mels[learnt:]])
    points = [ClipPoint(at, "scored", one, "", "model") for at, one in zip(times[learnt:], z.tolist(), strict=True)]
    return machine_health(Policy(), {"model": baseline}, points), z


# --- the command -----------------------------------------------------------------------------------------------------


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


PARTS: Final[dict[str, Callable[[int, int], str]]] = {"alarms": false_alarms, "laws": other_laws, "delays": delays}
MACHINES: Final = {"alarms": 1000, "laws": 300, "delays": 400, "sound": 20}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the machines")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", nargs="+", choices=list(MACHINES), default=list(MACHINES))
    parser.add_argument("--recipes", nargs="+", default=["mahalanobis", "dae"], help="of part sound")
    asked = parser.parse_args()
    begun = time.perf_counter()
    for part in asked.part:
        machines = MACHINES[part] // (10 if asked.quick else 1)
        table = (
            PARTS[part](asked.seed, machines) if part in PARTS else healthy_sound(asked.seed, machines, asked.recipes)
        )
        print(table, end="\n\n", flush=True)
    print(f"seed {asked.seed}, {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()

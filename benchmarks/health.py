"""What the health of a machine promises, measured: false alarms on healthy machines, and how soon a change is found.

    python benchmarks/health.py [--quick] [--seed 0] [--part alarms laws delays sound] [--recipes mahalanobis dae]

Machines are simulated as scores: Gaussian, 144 clips a day, independent or AR(1) with a correlation of .9 between
neighbouring clips. Each gets calibration clips of its own, in recordings of 50, and is then judged by
`acoustic_ad.health`, as it stands, with its default policy. A false alarm is an episode raised on a healthy machine.

Part `sound` is about all that lies before the scores, see healthy_sound.py.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
from healthy_sound import excursions, healthy_sound, limits_of, markdown
from scipy.signal import lfilter
from scipy.special import ndtr
from scipy.stats import chi2
from scipy.stats import t as student

from acoustic_ad.health.baseline import Baseline
from acoustic_ad.health.policy import Policy
from acoustic_ad.health.timeline import ClipPoint, MachineHealth, machine_health

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


# --- false alarms ----------------------------------------------------------------------------------------------------


def false_alarms(seed: int, machines: int) -> str:
    """Advertised and measured false alarms of healthy machines in the first month after their calibration."""
    rows = []
    for kind, rho in KINDS.items():
        for clips in SETS:
            rng = np.random.default_rng([seed, clips, round(10 * rho)])
            promised, counted, ranged = [], [], []
            for _ in range(machines):
                health = health_of(calibrated(rng, rho, clips), scores(rng, rho, MONTH), Policy())
                found = limits_of(health)
                promised.append(
                    (found.warnings_per_year, found.alarms_per_year, *found.alarms_between, found.attainable)
                )
                counted.append(excursions(health))
                ranged.append(found.is_range)
            said, seen = np.mean(promised, axis=0), 12 * np.array(counted)
            error = seen.std(axis=0) / np.sqrt(machines)
            rows.append([
                kind, f"{clips}", f"{said[0]:.1f}", f"{seen[:, 0].mean():.1f} ± {error[0]:.1f}",
                f"{said[1]:.2f} ({said[2]:.2f}-{said[3]:.2f})", f"{seen[:, 1].mean():.2f} ± {error[1]:.2f}",
                f"{1 - said[4]:.0%}", *_by_range(seen[:, 1], np.array(ranged)),
            ])  # fmt: skip
    header = [
        "scores", "calibration clips", "WARNINGs said", "measured", "ALARMs said", "measured", "out of reach",
        "told a range", "ALARMs of the others",
    ]  # fmt: skip
    return f"False alarms a machine-year, {machines} machine-months each:\n\n{markdown(header, rows)}"


def _by_range(alarms: FloatArray, ranged: npt.NDArray[np.bool_]) -> tuple[str, str]:
    """The share of machines that are told a range instead of a number, and the ALARMs a year of the others."""
    return f"{ranged.mean():.0%}", "-" if ranged.all() else f"{alarms[~ranged].mean():.2f}"


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
# Healthy machines for each one that changes: the rivals' limits stand on the few false alarms of all of them, and a
# change is found the sooner the more of these there were by chance.
HEALTHY: Final = 10
CHANGES: Final[dict[str, FloatArray]] = {
    **{f"{size} sigma": np.full(MONTH, size, np.float64) for size in (1, 2, 3)},
    "3 sigma in 30 days": np.linspace(0.0, 3.0 * MONTH / (30 * CLIPS_A_DAY), MONTH),
}


def delays(seed: int, machines: int, kinds: Sequence[str] = tuple(KINDS), sets: Sequence[int] = DELAY_SETS) -> str:
    """Clips from a change to the ALARM, ours and the rivals' with limits for the same measured false alarms."""
    parts = []
    for kind in kinds:
        rho = KINDS[kind]
        for clips in sets:
            rng = np.random.default_rng([seed, 1, clips, round(10 * rho)])
            parts.append(delay_table(rng, kind, rho, clips, machines))
    return "\n\n".join(parts)


def delay_table(rng: np.random.Generator, kind: str, rho: float, clips: int, machines: int) -> str:
    """The delays for one kind of scores and one size of the calibration set."""
    baselines = [calibrated(rng, rho, clips) for _ in range(HEALTHY * machines)]
    ours, highest = [], []
    for baseline in baselines:
        healthy = scores(rng, rho, MONTH)
        ours.append(first_alarm(health_of(baseline, healthy, Policy()), 0) is not None)
        highest.append([chart(baseline.z_all(healthy)).max() for chart in RIVALS.values()])
    share = max(float(np.mean(ours)), 1 / len(ours))
    limit = dict(zip(RIVALS, np.quantile(highest, 1 - share, axis=0).tolist(), strict=True))
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


# --- the command -----------------------------------------------------------------------------------------------------


PARTS: Final[dict[str, Callable[[int, int], str]]] = {"alarms": false_alarms, "laws": other_laws}
MACHINES: Final = {"alarms": 1000, "laws": 300, "delays": 400, "sound": 20}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the machines")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", nargs="+", choices=list(MACHINES), default=list(MACHINES))
    parser.add_argument("--machines", type=int, help="how many, where that is not to be the default")
    parser.add_argument("--recipes", nargs="+", default=["mahalanobis", "dae"], help="of part sound")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="of part delays")
    parser.add_argument("--sets", nargs="+", type=int, default=list(DELAY_SETS), help="calibration clips, likewise")
    asked = parser.parse_args()
    begun = time.perf_counter()
    for part in asked.part:
        machines = asked.machines or MACHINES[part] // (10 if asked.quick else 1)
        if part == "sound":
            table = healthy_sound(asked.seed, machines, asked.recipes)
        elif part == "delays":
            table = delays(asked.seed, machines, asked.kinds, asked.sets)
        else:
            table = PARTS[part](asked.seed, machines)
        print(table, end="\n\n", flush=True)
    print(f"seed {asked.seed}, {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()

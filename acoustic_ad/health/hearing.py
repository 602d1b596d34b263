"""What a machine's scored clips say, one after the other: from z's to the index, with a new baseline after maintenance.

Everything here looks back only: neither the limits nor the baseline of a clip depend on clips that came after it, so
that more data never rewrite the past.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.health.baseline import Baseline, mean_variance
from acoustic_ad.health.charts import chart_indices, index_of, recursions, statistics
from acoustic_ad.health.excursions import Excursion, excursions, shown, supported
from acoustic_ad.health.limits import DAYS_A_YEAR, ChartLimit, Facts, Limits, limits
from acoustic_ad.health.policy import Policy

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]

DAY_S: Final = 86_400.0
OVER_ALARM: Final = 1.25  # times its alarm limit: no chart climbs higher, so that it comes back
UNKNOWN: Final = (50, 1, 0.5)  # clips, sessions, autocorrelation where no baseline is at hand
PAUSE_S: Final = 30 * DAY_S  # nobody listened: another campaign, or a recorder whose clock began again in 1970
CLIPS_A_YEAR: Final = 144 * DAYS_A_YEAR  # where the clips do not tell
SPREAD_WITHIN: Final = (0.5, 2.0)  # of a new baseline, in standard deviations of the old one
TOO_HIGH_Z: Final = 3.0  # a new baseline so far above the old one is a fault, not a repair
TOO_UNSTEADY_Z: Final = 1.5  # apart, the halves of its clips: the machine has not settled
_AT_ONCE: Final = 4_096  # clips whose numbers stay in a processor's cache meanwhile


@dataclass(frozen=True, slots=True)
class Scored:
    """A machine's scored clips in the order of recording: times [T] in seconds, z's [T], and the models' digests."""

    times: Array
    z: Array
    model: npt.NDArray[np.int32]  # [T], places in `models`
    models: Sequence[str]  # ascending; there may be more than the clips have


@dataclass(frozen=True, slots=True)
class Stretch:
    """Scored clips first..end-1, between maintenance; the first `learning` of them raise nothing."""

    first: int
    end: int
    learning: int
    maintained: bool  # it begins with maintenance that its baseline does not know
    excursions: tuple[Excursion, ...]  # numbers of clips as in `Scored`
    refused: str = ""  # why there is no new baseline though its clips are there


@dataclass(frozen=True, slots=True)
class Hearing:
    """What the clips say: z against the baseline of the time [T], charts [charts, T] and index [T]."""

    times: Array
    z: Array
    statistics: Array
    index: Array
    limits: Sequence[Limits]
    which: Numbers  # [T], whose limits a clip has
    stretches: Sequence[Stretch]

    def loudest(self, clip: int) -> tuple[int, ChartLimit, float]:
        """Number, limits and statistic of the chart that stands highest after a clip."""
        charts = self.limits[self.which[clip]].charts
        low, high = limit_arrays(self.limits[self.which[clip]])
        number = int(chart_indices(self.statistics[:, clip], low, high).argmax())
        return number, charts[number], float(self.statistics[number, clip])

    def onset(self, stretch: Stretch, clip: int) -> int:
        """The clip with which the change began that was raised at a clip: the first after the chart's last zero.

        That is the usual estimate of a CUSUM's change point. Persistence has no zeros: the first CUSUM stands in.
        """
        number = self.loudest(clip)[0] % (len(self.statistics) - 1)
        zeros = np.flatnonzero(self.statistics[number, stretch.first : clip] == 0.0)
        return stretch.first + (int(zeros[-1]) + 1 if zeros.size else 0)


def hear(policy: Policy, baselines: Mapping[str, Baseline], scored: Scored, maintenance: Sequence[float]) -> Hearing:
    """Charts and index of all scored clips; `maintenance` are its times, in seconds, ascending."""
    size = scored.z.size
    ear = _Ear(policy, baselines, scored)
    cuts = {int(np.searchsorted(scored.times, at)): at for at in maintenance}
    bounds = sorted({0, *cuts, size})
    stretches = [ear.listen(first, end, cuts.get(first)) for first, end in pairwise(bounds)]
    return Hearing(scored.times, ear.z, ear.statistics, ear.index, ear.book.limits, ear.which, stretches)


class _Ear:
    """Goes through the stretches, in order."""

    def __init__(self, policy: Policy, baselines: Mapping[str, Baseline], scored: Scored) -> None:
        self.policy, self.scored = policy, scored
        names = scored.models
        self.model = scored.model.astype(np.intp)
        self.book = _LimitBook(policy, [baselines.get(name) for name in names], baselines, scored.times)
        size = scored.z.size
        self.z, self.index = scored.z.copy(), np.zeros(size)
        self.statistics = np.zeros((len(recursions(policy)) + 1, size))
        self.which = np.zeros(size, np.intp)
        self.shift = dict.fromkeys(range(len(names)), (0.0, 1.0))  # centre and spread of new baselines, in z

    def listen(self, first: int, end: int, maintained_at: float | None) -> Stretch:
        """The stretch of clips first..end-1; `maintained_at` in seconds if it begins with maintenance."""
        policy = self.policy
        maintained = maintained_at is not None and not self.book.knows(int(self.model[first]), maintained_at)
        centre, spread = np.array([self.shift[number] for number in range(len(self.shift))]).T
        model = self.model[first:end]
        self.z[first:end] = (self.scored.z[first:end] - centre[model]) / spread[model]
        learning = policy.relearn_clips if maintained else max(policy.learning_clips - 1 - first, 0)
        learnt, refused = first, ""
        if maintained and end - first >= learning:
            refused = self._relearn(first, end)
            learnt = first if refused else first + learning
        self._chart(first, learnt if learnt > first else end)
        if learnt > first:
            self._chart(learnt, end)
        return self._raise(first, end, learning, maintained, refused)

    def _relearn(self, first: int, end: int) -> str:
        """Makes the new baseline of the clips first.. and holds clips from then on against it; or says why not."""
        until = first + self.policy.relearn_clips
        model = self.model[until - 1]
        clips = self.z[first:until][self.model[first:until] == model]
        autocorrelation = self.book.autocorrelation(int(model))
        refused = unfit(clips, autocorrelation)
        if refused:
            return refused
        centre, spread = centre_and_spread(clips, autocorrelation)
        rest = np.arange(until, end)[self.model[until:end] == model]
        self.z[rest] = (self.z[rest] - centre) / spread
        old_centre, old_spread = self.shift[model]
        self.shift[model] = (old_centre + centre * old_spread, old_spread * spread)
        self.book.relearnt.add(int(model))
        return ""

    def _chart(self, first: int, end: int) -> None:
        if first == end:
            return
        part = slice(first, end)
        self.which[part] = self.book.numbers(self.model[part], first)
        tables = [limit_arrays(one) for one in self.book.limits]
        low, high = (np.array([table[side] for table in tables]).T for side in (0, 1))
        caps = (OVER_ALARM * high).take(self.which[part], axis=1)
        self.statistics[:, part] = statistics(self.policy, self.z[part], caps)
        for begin in range(first, end, _AT_ONCE):
            some = slice(begin, min(begin + _AT_ONCE, end))
            limit = (side.take(self.which[some], axis=1) for side in (low, high))
            self.index[some] = index_of(self.statistics[:, some], *limit)

    def _raise(self, first: int, end: int, learning: int, maintained: bool, refused: str) -> Stretch:
        part = slice(first, end)
        found = excursions(self.policy, self.index[part], supported(self.policy, self.z[part]), learning)
        self.index[part] = shown(self.index[part], found)
        moved = tuple(
            Excursion(one.level, one.start + first, None if one.end is None else one.end + first, one.became_alarm)
            for one in found
        )
        return Stretch(first, end, learning, maintained, moved, refused)


class _LimitBook:
    """The limits of each clip: of its model's baseline, and of the clip rate up to then.

    The rate is measured on the first 10 clips, on 20, 40 and so on: each clip is held against the latest measurement.
    """

    def __init__(
        self, policy: Policy, of_model: Sequence[Baseline | None], baselines: Mapping[str, Baseline], times: Array
    ) -> None:
        self.policy, self.of_model, self.times = policy, of_model, times
        self.others = list(baselines.values())
        self.relearnt: set[int] = set()
        self.limits: list[Limits] = []
        self._numbers: dict[Facts, int] = {}

    def knows(self, model: int, maintained_at: float) -> bool:
        """Whether the model's baseline was itself recorded after the maintenance."""
        baseline = self.of_model[model]
        newest = None if baseline is None else baseline.newest
        return newest is not None and newest.timestamp() >= maintained_at

    def autocorrelation(self, model: int) -> float:
        """Of neighbouring clips, by the baseline that a model's limits stand on."""
        return self._facts(model, CLIPS_A_YEAR).autocorrelation

    def numbers(self, models: Numbers, first: int) -> Numbers:
        """For clips first.. of these models [T], the places [T] of their limits in `limits`."""
        count = np.arange(first + 1, first + 1 + models.size)
        begun = self.policy.learning_clips
        doubled = np.floor(np.log2(np.maximum(count, begun) / begun) + 1e-9).astype(np.intp)
        pairs = doubled * len(self.of_model) + models
        places = np.zeros(int(pairs.max()) + 1, np.intp)
        for pair in np.flatnonzero(np.bincount(pairs)).tolist():
            times, model = divmod(pair, len(self.of_model))
            places[pair] = self._place(model, begun * 2**times)
        found: Numbers = places[pairs]
        return found

    def _place(self, model: int, clips: int) -> int:
        facts = self._facts(model, self._rate(clips))
        if facts not in self._numbers:
            self._numbers[facts] = len(self.limits)
            self.limits.append(limits(self.policy, facts))
        return self._numbers[facts]

    def _rate(self, clips: int) -> float:
        gaps = np.diff(self.times[:clips])
        heard = gaps[gaps <= PAUSE_S]
        if not heard.size:
            return CLIPS_A_YEAR
        return heard.size / (max(float(heard.sum()), 1.0) / DAY_S) * DAYS_A_YEAR

    def _facts(self, model: int, rate: float) -> Facts:
        baseline = self.of_model[model]
        if baseline is None and self.others:  # a model that is gone: as if of the poorest that is left
            baseline = min(self.others, key=lambda one: (one.clips, -one.autocorrelation))
        if baseline is None:
            return Facts(*UNKNOWN, rate)
        if model in self.relearnt:
            return Facts(min(self.policy.relearn_clips, baseline.clips), 1, baseline.autocorrelation, rate)
        return Facts(baseline.clips, baseline.recordings, baseline.autocorrelation, rate)


def unfit(z: Array, autocorrelation: float) -> str:
    """Why z's [n] of the clips after maintenance make no new baseline; empty if they do."""
    centre = float(np.median(z))
    half = z.size // 2
    apart = float(z[half:].mean() - z[:half].mean())
    by_chance = 3 * math.sqrt(2 * float(mean_variance(max(autocorrelation, 0.0), half)))
    if centre > TOO_HIGH_Z:
        return f"the clips after it are {centre:.1f} sigma above the old normal, which sounds like a fault"
    if abs(apart) > max(TOO_UNSTEADY_Z, by_chance):
        return f"the clips after it moved by {apart:+.1f} sigma: the machine has not settled"
    return ""


def centre_and_spread(z: Array, autocorrelation: float) -> tuple[float, float]:
    """Mean and standard deviation of z's [n], the latter within 0.5..2; single wild ones are held to three deviations.

    Of a normal sample these are known better than median and quartiles, and what they miss by is false alarms. The
    deviation from the sample's own mean is too small by the variance of that mean, which is large where neighbours
    depend on one another.
    """
    quarter, middle, three = np.quantile(z, (0.25, 0.5, 0.75))
    reach = 3 * (three - quarter) / 1.349
    held = np.clip(z, middle - reach, middle + reach)
    missing = min(float(mean_variance(max(autocorrelation, 0.0), z.size)), 0.75)
    spread = float(held.std()) / math.sqrt(1 - missing)
    return float(held.mean()), min(max(spread, SPREAD_WITHIN[0]), SPREAD_WITHIN[1])


def limit_arrays(found: Limits) -> tuple[Array, Array]:
    """The warning and the alarm limits [charts]."""
    return (np.array([chart.warning for chart in found.charts]), np.array([chart.alarm for chart in found.charts]))

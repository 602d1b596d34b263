"""The health of a machine over time: a pure function of policy, baselines, clips by time of recording, and events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from acoustic_ad.health.baseline import Baseline
from acoustic_ad.health.charts import SLOW
from acoustic_ad.health.clip_table import ClipPoint, ClipTable, micros_of, seconds_of
from acoustic_ad.health.excursions import Excursion, Level
from acoustic_ad.health.feedback import found_by_people
from acoustic_ad.health.hearing import DAY_S, Hearing, Scored, Stretch, hear
from acoustic_ad.health.policy import NE107, Policy
from acoustic_ad.health.records import BECAME_ALARM, Episode, Event, EventKind, MachineHealth, StateChange
from acoustic_ad.health.states import Heard, seen_states
from acoustic_ad.health.trend import Trend, trend_of

__all__ = [
    "ClipPoint",
    "Episode",
    "Event",
    "EventKind",
    "Level",
    "MachineHealth",
    "StateChange",
    "Trend",
    "machine_health",
]


def machine_health(
    policy: Policy,
    baselines: Mapping[str, Baseline],
    clips: Iterable[ClipPoint],
    events: Iterable[Event] = (),
    as_of: datetime | None = None,
) -> MachineHealth:
    """The health after all clips and events up to `as_of`, whatever the order of their arrival.

    `baselines` are by the models' digests; clips of a model without one are held against the limits of the poorest
    baseline there is. Clips that are off or of a broken sensor do not move the statistic. Silence is no_data only
    where `as_of` says what time it is. Takes about 30 ms for 50,000 clips in a `ClipTable`.
    """
    ordered = ClipTable.of(clips).in_order(as_of)
    past = sorted((event for event in events if as_of is None or event.at <= as_of), key=_event_order)
    scored = ordered.scored()
    maintenance = [event.at for event in past if event.kind == "maintenance"]
    heard: list[Heard] = []
    episodes: list[Episode] = []
    hearing = None
    if len(scored):
        hearing = hear(policy, baselines, _arrays(scored), _seconds(maintenance))
        teller = _Teller(policy, hearing, scored, maintenance, past)
        heard, episodes = teller.heard(), teller.episodes()
    seen = seen_states(heard, ordered, as_of, policy)
    now = seen.now
    limits = hearing.limits[hearing.which[-1]] if hearing is not None else None
    # What the clips before a maintenance said is no word on the machine after it.
    current = hearing is not None and not any(at > scored.at(-1) for at in maintenance)
    return MachineHealth(
        state=now.state if now else "no_data",
        since=now.at if now else None,
        previous=seen.changes[-1].previous if seen.changes else "no_data",
        rule=now.rule if now else "no clips",
        ne107=NE107[now.state if now else "no_data"],
        heard=heard[-1].state if heard else "no_data",
        index=float(hearing.index[-1]) if hearing is not None and current else None,
        trend=_trend(policy, hearing) if hearing is not None and heard[-1].state != "learning" else None,
        clips=len(scored),
        last_clip_at=ordered.at(-1) if len(ordered) else None,
        episodes=tuple(episodes),
        changes=seen.changes,
        past_changes=seen.past_changes,
        usual_gap_s=seen.usual_gap_s,
        limits=limits,
        statement=_statement(hearing, baselines, scored),
        hearing=hearing,
        scored=scored,
    )


def _event_order(event: Event) -> tuple[datetime, str, str, str]:
    return event.at, event.kind, event.note, event.by


def _arrays(scored: ClipTable) -> Scored:
    return Scored(seconds_of(scored.micros), scored.z, scored.model, scored.models)


def _seconds(times: Sequence[datetime]) -> list[float]:
    found: list[float] = seconds_of(np.array([micros_of(at) for at in times], np.int64)).tolist()
    return found


class _Teller:
    """Tells in states and episodes, with dates, what was heard in the scored clips."""

    def __init__(
        self,
        policy: Policy,
        hearing: Hearing,
        scored: ClipTable,
        maintenance: Sequence[datetime],
        events: Sequence[Event],
    ) -> None:
        self.policy, self.hearing, self.scored = policy, hearing, scored
        self.maintenance, self.events = maintenance, events

    def heard(self) -> list[Heard]:
        """What the clips say, change by change, the first at the first scored clip."""
        found = []
        for stretch in self.hearing.stretches:
            found += self._learning(stretch)
            for one in stretch.excursions:
                found.append(Heard(self._at(one.start), one.level, self._rule(stretch, one)))
                if one.end is not None and not one.became_alarm:
                    found.append(Heard(self._at(one.end), "normal", self._calm_rule(one)))
        after = [at for at in self.maintenance if at > self.scored.at(-1)]
        found += [Heard(at, "learning", self._relearning()) for at in after]
        return found

    def episodes(self) -> list[Episode]:
        """All excursions, as what operators deal with."""
        return [self._episode(stretch, one) for stretch in self.hearing.stretches for one in stretch.excursions]

    def _learning(self, stretch: Stretch) -> list[Heard]:
        begun = self._begun(stretch)
        found = []
        if stretch.learning:
            rule = self._relearning() if stretch.maintained else f"fewer than {self.policy.learning_clips} scored clips"
            found.append(Heard(begun, "learning", rule))
        if stretch.end - stretch.first > stretch.learning:
            first = self._at(stretch.first + stretch.learning) if stretch.learning else begun
            rule = "all charts below their limits"
            if stretch.refused:
                rule = f"the old baseline stays: {stretch.refused}"
            elif stretch.maintained and stretch.learning:
                rule = f"new baseline of {self.policy.relearn_clips} clips"
            found.append(Heard(first, "normal", rule))
        return found

    def _begun(self, stretch: Stretch) -> datetime:
        """When a stretch began: with the first maintenance since the clip before it, or with its first clip."""
        first = self._at(stretch.first)
        since = self._at(stretch.first - 1) if stretch.first else None
        before = [at for at in self.maintenance if at <= first and (since is None or at > since)]
        return before[0] if before and since is not None else first

    def _relearning(self) -> str:
        return f"after maintenance: the next {self.policy.relearn_clips} scored clips make the new baseline"

    def _rule(self, stretch: Stretch, one: Excursion) -> str:
        _, limit, statistic = self.hearing.loudest(one.start)
        height = limit.alarm if one.level == "alarm" else limit.warning
        began = self._at(self.hearing.onset(stretch, one.start)).astimezone(UTC)
        return (
            f"{limit.chart} above its {one.level} limit ({statistic:.3g} > {height:.3g}); the change began about "
            f"{began:%Y-%m-%d %H:%M} UTC"
        )

    def _calm_rule(self, one: Excursion) -> str:
        alarm = one.level == "alarm"
        below = self.policy.alarm_clear_index if alarm else self.policy.warning_clear_index
        return f"index below {below:g} for {self.policy.clear_clips} clips"

    def _episode(self, stretch: Stretch, one: Excursion) -> Episode:
        raised, cleared, how = self._at(one.start), None, ""
        if one.end is not None:
            cleared = self._at(one.end)
            how = BECAME_ALARM if one.became_alarm else self._calm_rule(one)
        else:
            last = self._at(stretch.end - 1)
            ended = [at for at in self.maintenance if at > last or at > raised]
            if ended:
                cleared, how = ended[0], "maintenance"
        onset = self.hearing.onset(stretch, one.start)
        end = stretch.end if one.end is None else one.end
        loudest = onset + np.argsort(-self.hearing.z[onset:end], kind="stable")[:3]
        return Episode(
            level=one.level,
            raised_at=raised,
            cleared_at=cleared,
            rule=self._rule(stretch, one),
            peak_index=float(self.hearing.index[one.start : end].max()),
            worst=tuple(self.scored.key(number) for number in loudest.tolist()),
            began_at=self._at(onset),
            label=found_by_people(self.events, raised, cleared),
            cleared_by=how,
        )

    def _at(self, clip: int) -> datetime:
        return self.scored.at(clip)


def _trend(policy: Policy, hearing: Hearing) -> Trend | None:
    stretch = hearing.stretches[-1]
    since = hearing.times[-1] - policy.trend_days * DAY_S
    first = max(stretch.first + stretch.learning, int(np.searchsorted(hearing.times, since)))
    limits = hearing.limits[hearing.which[-1]]
    slow = next(chart for chart in limits.charts if chart.chart == SLOW)
    z = np.minimum(hearing.z[first:], policy.z_cap)
    return trend_of(hearing.times[first:] / DAY_S, z, slow.alarm, limits.facts.autocorrelation)


def _statement(hearing: Hearing | None, baselines: Mapping[str, Baseline], scored: ClipTable) -> str:
    if hearing is None:
        return ""
    parts = [hearing.limits[hearing.which[-1]].statement]
    if scored.models[scored.model[-1]] not in baselines:
        parts.append("no baseline of the model that judged the newest clip is at hand: its limits are a guess")
    refused = hearing.stretches[-1].refused
    if refused:
        parts.append(f"no new baseline after maintenance: {refused}; if this is the new normal, train a new model")
    return "; ".join(parts)

"""What people found out about a machine, put to use: labels of clips, and which of them may join a calibration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from acoustic_ad.health.clip_table import ClipPoint
from acoustic_ad.health.records import Episode, Event, MachineHealth

Finding = Literal["false-alarm", "confirmed-fault"]

# People write down what they found when they have found it, which may be after the episode.
AFTERWARDS: Final = timedelta(days=2)
AROUND: Final = timedelta(hours=1)  # of an event that belongs to no episode
LABELS: Final[Mapping[Finding, Literal["normal", "anomaly"]]] = {"false-alarm": "normal", "confirmed-fault": "anomaly"}


def found_by_people(events: Iterable[Event], raised: datetime, cleared: datetime | None) -> Finding | None:
    """What people found about an episode: the latest event within it, or up to two days after its end."""
    found: Finding | None = None
    for event in sorted(events, key=lambda event: (event.at, event.kind)):
        within = raised <= event.at and (cleared is None or event.at <= cleared + AFTERWARDS)
        if within and (event.kind == "false-alarm" or event.kind == "confirmed-fault"):
            found = event.kind
    return found


def labelled(
    clips: Iterable[ClipPoint], episodes: Sequence[Episode], events: Iterable[Event]
) -> dict[str, Literal["normal", "anomaly"]]:
    """Labels of scored clips, by their keys, from what people found: for `evaluate`, and for calibrations.

    The clips of an episode, from the estimated beginning of the change, are anomalies if a fault was confirmed and
    normal if it was a false alarm; where events belong to no episode, the clips within an hour. A confirmed fault
    outweighs a false alarm.
    """
    spans = [
        (episode.began_at, episode.cleared_at, LABELS[episode.label])
        for episode in episodes
        if episode.label is not None
    ]
    for event in events:
        if event.kind in ("false-alarm", "confirmed-fault") and not any(_belongs(event, one) for one in episodes):
            label: Literal["normal", "anomaly"] = "normal" if event.kind == "false-alarm" else "anomaly"
            spans.append((event.at - AROUND, event.at + AROUND, label))
    found: dict[str, Literal["normal", "anomaly"]] = {}
    for clip in clips:
        labels = {
            label
            for first, last, label in spans
            if clip.status == "scored" and first <= clip.recorded_at and (last is None or clip.recorded_at <= last)
        }
        if labels:
            found[clip.key] = "anomaly" if "anomaly" in labels else "normal"
    return found


def may_join(health: MachineHealth) -> str:
    """Why confirmed normals must not join the machine's calibration now; empty if they may.

    They never join by themselves: somebody has to ask for it.
    """
    if health.heard in ("warning", "alarm"):
        since = "" if health.since is None else f" since {health.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        return f"the machine is in {health.heard}{since}: what is suspect is not learnt as normal"
    if health.heard in ("learning", "no_data"):
        return "the machine is still learning"
    return ""


def _belongs(event: Event, episode: Episode) -> bool:
    return found_by_people([event], episode.raised_at, episode.cleared_at) is not None

"""The clips that one machine is learnt from: checked, each with its recording, and which of them judge the model."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from acoustic_ad.errors import TrainingError
from acoustic_ad.models.conditions import Conditions
from acoustic_ad.models.evidence import FloatArray
from acoustic_ad.models.planting import PlantedClip, plant_in_log_mels
from acoustic_ad.recipe import Recipe
from acoustic_ad.scores.calibration import fold_of, numbered
from acoustic_ad.scores.clip_score import IntArray
from acoustic_ad.sound.log_mels import ClipRows, LogMels

FEWEST_CLIPS = 10
FEWEST_TO_JUDGE_BY = 5  # clips outside the largest session
# Networks and normaliser learn from every clip. The clip scorer and the calibration take no more than so many: what
# nearest neighbours compare grows with the square of the clips (80 GB for 100,000), and so would each bundle grow.
MOST_JUDGED = 2_000


@dataclass(frozen=True, slots=True)
class MachineSound:
    """What one machine is learnt from; see `of`."""

    log_mels: LogMels  # [frames, mels] each, in dB
    sessions: IntArray  # [n], the number of each clip's recording; what stands in for it where that is unknown
    judged: IntArray  # [m], the clips that scorer and calibration are fitted to: all of them, or 2,000
    planted: Sequence[PlantedClip] = ()
    conditions: Conditions = field(default_factory=Conditions)
    condition: IntArray | None = None  # [n], the number of each clip's condition, where the recipe has conditions

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        log_mels: Sequence[FloatArray],
        sessions: Sequence[Hashable] | IntArray | None = None,
        planted: Sequence[PlantedClip] = (),
        conditions: Sequence[str] | None = None,
    ) -> MachineSound:
        """Checked, and as under the mean condition.

        Where the recipe chooses by planted faults and none are given, they are planted into log-mels.
        """
        clips = checked_log_mels(recipe, log_mels)
        if recipe.chooses and not planted:
            planted = plant_in_log_mels(clips, recipe.seed)
        groups = numbered(session_or_block(len(clips), sessions, recipe.training.folds))
        judged = chosen_to_judge(fold_of(groups, recipe.training.folds), [one.clip for one in planted])
        if not recipe.condition:
            return cls(clips, groups, judged, planted)
        if conditions is None or not any(conditions):
            raise TrainingError(f"the recipe goes by the column {recipe.condition!r}, which no training clip has")
        found = Conditions.of(clips, conditions)
        numbers = found.numbers(conditions)
        if found.offsets is None or numbers is None:
            raise TrainingError("no operating condition was found in the training clips")
        planted = [one.under(partial(found.corrected, condition=conditions[one.clip])) for one in planted]
        return cls(clips.taking_away(found.offsets, numbers), groups, judged, planted, found, numbers)


def checked_log_mels(recipe: Recipe, log_mels: Sequence[FloatArray]) -> ClipRows:
    """The clips as float32 arrays; raises TrainingError that names the first clip that does not fit."""
    if len(log_mels) < FEWEST_CLIPS:
        raise TrainingError(f"{len(log_mels)} usable normal clips; training needs at least {FEWEST_CLIPS}: record more")
    frames, first = recipe.features.patch_frames, np.shape(log_mels[0])
    for number, clip in enumerate(log_mels):
        if clip.ndim != 2 or clip.shape[1] != first[1]:
            raise TrainingError(f"clip {number} has shape {clip.shape}, the first one {first} [frames, mels]")
        if len(clip) < frames:
            raise TrainingError(f"clip {number} has {len(clip)} frames; one patch needs {frames}")
        if not np.isfinite(clip).all():
            raise TrainingError(f"clip {number} contains NaN or Inf")
    return log_mels if isinstance(log_mels, ClipRows) else ClipRows.of(log_mels)


def session_or_block(
    count: int, sessions: Sequence[Hashable] | IntArray | None, folds: int
) -> Sequence[Hashable] | IntArray:
    """The session of each of `count` clips; where unknown, runs of neighbouring clips stand in for recordings.

    So they do where all clips, or all but a handful, are of one session: a handful cannot judge the others.
    """
    if sessions is None:
        return np.arange(count) * folds // count
    if len(sessions) != count:
        raise TrainingError(f"{len(sessions)} sessions for {count} clips")
    if count - np.bincount(numbered(sessions)).max() < FEWEST_TO_JUDGE_BY:
        return session_or_block(count, None, folds)
    return sessions


def chosen_to_judge(fold: IntArray, needed: Sequence[int] = ()) -> IntArray:
    """Of clips in folds [n], ascending numbers of those that judge: all, or about 2,000, as many of every fold.

    By chance, since a regular choice may keep step with the recordings; `needed` clips are always among them.
    """
    if len(fold) <= MOST_JUDGED:
        return np.arange(len(fold))
    rng = np.random.default_rng(0)
    folds = [np.flatnonzero(fold == number) for number in range(int(fold.max()) + 1)]
    chosen = [rng.choice(own, min(len(own), MOST_JUDGED // len(folds)), replace=False) for own in folds]
    return np.unique(np.concatenate([*chosen, np.array(needed, np.int64)]))

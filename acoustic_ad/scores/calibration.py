"""What a score means on this machine: its rank among the scores of normal clips that the model had not learnt from."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.errors import BundleError
from acoustic_ad.scores.clip_score import IntArray
from acoustic_ad.scores.evidence import Array

ROUNDING: Final = 1e-5  # of the largest score: many times what single precision makes of it


@dataclass(frozen=True, slots=True)
class Calibration:
    """Scores [n] of normal clips, each given by a model that had not seen the clip; ascending.

    `sessions` counts the recordings behind the n clips: clips of one recording resemble one another, so the honest
    number of independent observations lies between the two.
    """

    scores: Array
    sessions: int
    made_at: datetime
    condition: IntArray | None = None  # [n], the number of each clip's operating condition, where there are any
    conditions: tuple[str, ...] = ()  # their names
    order: IntArray | None = None  # [n], the place of each clip in the order of recording; None in older bundles
    session: IntArray | None = None  # [n], the number of each clip's recording; None where nobody knows

    @classmethod
    def of(
        cls,
        scores: npt.ArrayLike,
        sessions: int,
        condition: IntArray | None = None,
        conditions: tuple[str, ...] = (),
        session: IntArray | None = None,
    ) -> Calibration:
        """A calibration made now, of clips in the order of their recording."""
        found = np.asarray(scores, np.float64)
        if found.ndim != 1:
            raise BundleError(f"a calibration needs at least one score, in one row; it was given {found.shape}")
        order = np.argsort(found, kind="stable")
        now = datetime.now(UTC).replace(microsecond=0)
        condition, session = (None if numbers is None else numbers[order] for numbers in (condition, session))
        return cls(found[order], sessions, now, condition, conditions, order.astype(np.int64), session)

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or len(self.scores) == 0 or not np.isfinite(self.scores).all():
            raise BundleError("a calibration needs at least one score, all finite")
        if (self.condition is None) == bool(self.conditions):
            raise BundleError("the conditions of the calibration and their names contradict each other")
        if self.condition is not None:
            fits = self.condition.shape == self.scores.shape and self.condition.dtype.kind == "i"
            if not fits or self.condition.min() < 0 or self.condition.max() >= len(self.conditions):
                raise BundleError("the calibration's conditions do not fit its scores")
        if self.order is not None and not np.array_equal(np.sort(self.order), np.arange(len(self.scores))):
            raise BundleError("the calibration's order of recording does not fit its scores")
        if self.session is not None and (self.session.shape != self.scores.shape or self.session.dtype.kind != "i"):
            raise BundleError("the calibration's sessions do not fit its scores")

    def state(self) -> dict[str, IntArray | Array]:
        """Its arrays, by name."""
        arrays = {"scores": self.scores, "condition": self.condition, "order": self.order, "session": self.session}
        return {name: array for name, array in arrays.items() if array is not None}

    def p_value(self, score: float, weights: Array | None = None) -> float:
        """Conformal p-value (1 + #{calibration >= score}) / (n + 1), within 1/(n+1)..1.

        For exchangeable clips, a normal clip's p-value falls below alpha with probability alpha at most. It cannot fall
        below `smallest_p`, however loud the fault. With `weights` [n], within 0..1, clips of other conditions count
        less than the clip's own (partial pooling): honest where conditions differ, but no longer exact.
        """
        if weights is not None:
            return float((1.0 + weights[self.scores >= score].sum()) / (1.0 + weights.sum()))
        beyond = len(self.scores) - int(np.searchsorted(self.scores, score, side="left"))
        return (1 + beyond) / (len(self.scores) + 1)

    @property
    def rounding(self) -> float:
        """By how much a score may differ where something else than torch computes it.

        A clip that was calibrated with has its own score among the others: rounding must not put it above itself.
        """
        return ROUNDING * float(np.abs(self.scores).max())

    @property
    def smallest_p(self) -> float:
        """The smallest p-value that this many clips can give."""
        return 1.0 / (len(self.scores) + 1)

    @property
    def typical(self) -> float:
        """The median score of normal clips."""
        n = len(self.scores)
        return float(self.scores[(n - 1) // 2] + self.scores[n // 2]) / 2  # they are in order

    def limit(self, p: float) -> float:
        """The score beyond which the p-value is at most `p`, or the highest score seen where n clips cannot tell."""
        beyond = max(int(np.floor(p * (len(self.scores) + 1) + 1e-9)) - 1, 0)  # calibration scores that may lie above
        return float(self.scores[-1 - min(beyond, len(self.scores) - 1)])

    def promise(self) -> str:
        """What this calibration can and cannot promise, for people."""
        n = len(self.scores)
        return (
            f"{n} normal clips in {self.sessions} groups (recordings, where known): no p-value below "
            f"{self.smallest_p:.3g}, so no fewer than 1 false alarm in {n + 1} clips can be promised for a single clip"
        )


def numbered(groups: Sequence[Hashable] | IntArray) -> IntArray:
    """The number of each clip's group [n], in the order in which groups first appear."""
    if not isinstance(groups, np.ndarray):
        numbers: dict[Hashable, int] = {}
        return np.array([numbers.setdefault(group, len(numbers)) for group in groups], np.int64)
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return np.asarray(place[number], np.int64)


def fold_of(groups: Sequence[Hashable] | IntArray, folds: int) -> IntArray:
    """Fold number of each clip [n]: groups (sessions) stay together, in the order in which they first appear.

    Each group goes to the fold with the fewest clips so far, so that folds are about equal.
    """
    number = numbered(groups)
    sizes = np.bincount(number)
    filled = np.zeros(min(folds, len(sizes)), np.int64)
    fold = np.empty(len(sizes), np.int64)
    for group, size in enumerate(sizes):
        fold[group] = filled.argmin()
        filled[fold[group]] += size
    return fold[number]

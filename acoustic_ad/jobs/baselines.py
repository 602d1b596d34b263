"""The fixed baselines that a machine's clips are held against: the calibrations of the models that judged them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from acoustic_ad.errors import BundleError
from acoustic_ad.health.baseline import Baseline
from acoustic_ad.health.policy import Policy
from acoustic_ad.models.registry import Registry

if TYPE_CHECKING:
    from acoustic_ad.models.bundle import BundleInfo
    from acoustic_ad.scores.calibration import Calibration

NEWEST_CLIP_AT: Final = "newest_clip_at"  # in a bundle's `extra`: when the latest clip of the training was recorded


class Baselines:
    """The models folder as health sees it. Every bundle is read once."""

    def __init__(self, models: Path) -> None:
        self._registry = Registry(models)
        self._found: dict[str, dict[str, Baseline | None]] = {}  # machine -> digest -> baseline
        self._policies: dict[str, Policy] = {}

    def of(self, machine: str, digests: Collection[str]) -> dict[str, Baseline]:
        """Digest -> baseline, of those of `digests` whose bundles are still there and whole."""
        known = self._found.setdefault(machine, {})
        if missing := set(digests) - known.keys():
            self._look_for(machine, missing, known)
        return {digest: found for digest in digests if (found := known[digest]) is not None}

    def policy(self, machine: str) -> Policy:
        """The policy in the recipe of the machine's current model; the default one where there is none to read."""
        if machine not in self._policies:
            try:
                recipe = self._registry.info(machine).recipe
            except BundleError:
                self._policies[machine] = Policy()
            else:
                self._policies[machine] = Policy.of(recipe.health.options)
        return self._policies[machine]

    def digest(self, machine: str) -> str | None:
        """The digest of the machine's current model, as its bundle says."""
        return self._registry.digest_as_said(machine)

    def _look_for(self, machine: str, wanted: set[str], known: dict[str, Baseline | None]) -> None:
        for version in reversed(self._registry.versions(machine)):
            said = self._registry.digest_as_said(machine, version)
            if said in wanted:
                try:
                    info, calibration = self._registry.calibration(machine, version)
                    known[info.digest] = baseline_of(calibration, newest_clip_at(info))
                except BundleError:
                    continue  # a damaged bundle, or one of too few clips, is as good as none
        known.update(dict.fromkeys(wanted - known.keys()))


def newest_clip_at(info: BundleInfo) -> datetime | None:
    """When the latest clip of a bundle's training was recorded; None where it does not say."""
    said = info.extra.get(NEWEST_CLIP_AT)
    try:
        found = datetime.fromisoformat(said) if isinstance(said, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


def baseline_of(calibration: Calibration, newest: datetime | None = None) -> Baseline:
    """The calibration's clips in the order of their recording, where the bundle knows it; `newest` is the latest one.

    Raises BundleError where they are too few for a baseline.
    """
    order, session = calibration.order, calibration.session
    if order is None:  # a bundle of before: in ascending order they pass for all but one observation, to be safe
        return Baseline.of(calibration.scores, newest=newest)
    scores, sessions = np.empty_like(calibration.scores), np.zeros(len(calibration.scores), np.int64)
    scores[order] = calibration.scores
    if session is not None:
        sessions[order] = session
    return Baseline.of(scores, None if session is None else sessions, newest)

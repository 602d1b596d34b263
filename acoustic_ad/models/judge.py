"""One detector with the clip scorer behind it: what a model consists of, or one member of an ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from acoustic_ad.detectors.base import Detector, PatchJudge, Runtime, detector_class
from acoustic_ad.detectors.onnx_detector import detector_without_torch
from acoustic_ad.errors import BundleError, NotFittedError
from acoustic_ad.models.evidence import BandNormaliser, ClipReader
from acoustic_ad.models.fitting import FittedDetector
from acoustic_ad.recipe import Recipe
from acoustic_ad.scores.clip_score import ClipScorer, FittedScores, IntArray, Planted, make_scorer

Arrays = dict[str, npt.NDArray[Any]]


class Judge:
    """Says how unusual a clip is, by one recipe's detector and scorer."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.scorer: ClipScorer = make_scorer(**recipe.scorer.model_dump())
        self._fitted: FittedDetector | None = None

    @property
    def fitted(self) -> FittedDetector:
        """Normaliser and detector; raises NotFittedError before `fit` or `from_state`."""
        if self._fitted is None:
            raise NotFittedError("the model has learnt nothing yet: call fit, or load it from a bundle")
        return self._fitted

    def fit(self, detector: FittedDetector, fold: IntArray, planted_into: Sequence[int] = ()) -> FittedScores:
        """Fit the scorer to the detector's evidence of n clips, which are in folds [n].

        `planted_into` [k] names the clip that each piece of the detector's evidence of planted faults was planted into.
        """
        self._fitted = detector
        planted = None
        if detector.planted:
            planted = Planted(detector.planted, np.asarray(planted_into, np.int64))
        return self.scorer.fit(detector.evidence, fold, planted)

    def reader(self, paper: bool = True) -> ClipReader:
        """For one clip: takes its log-mel block by block, gives the evidence that the scorer wants.

        Without `paper` there are patch scores only where the scorer goes by them.
        """
        fitted, scorer = self.fitted, self.scorer
        return ClipReader(self.recipe, fitted.detector, fitted.normaliser, scorer.statistics, paper or scorer.paper)

    def state(self) -> Arrays:
        """All arrays, by dotted names."""
        fitted = self.fitted
        parts: dict[str, Mapping[str, npt.NDArray[Any]]] = {
            "normaliser": {"mean": fitted.normaliser.mean, "deviation": fitted.normaliser.deviation},
            "detector": fitted.detector.state(),
            "scorer": self.scorer.state(),
        }
        return {f"{part}.{name}": value for part, arrays in parts.items() for name, value in arrays.items()}

    @classmethod
    def from_state(cls, recipe: Recipe, parts: Mapping[str, Arrays], mels: int, runtime: Runtime = "torch") -> Judge:
        """The judge of log-mels of so many mels whose arrays `parts` holds.

        Without torch (`runtime` "onnx") it scores, and does nothing else. Raises BundleError where names, shapes or
        finiteness do not fit, or where the detector needs torch.
        """
        if extra := parts.keys() - {"normaliser", "detector", "scorer"}:
            raise BundleError(f"unexpected arrays: {', '.join(sorted(extra))}")
        judge = cls(recipe)
        normaliser = BandNormaliser.from_state(parts.get("normaliser", {}))
        if len(normaliser.mean) != mels:  # before a network of that many inputs asks for the memory
            raise BundleError(f"the normaliser is of {len(normaliser.mean)} mels, the model of {mels}")
        detector = _learnt(recipe, parts.get("detector", {}), mels, runtime)
        # What `fit` and the pictures ask of a detector beyond scoring, they ask of one by torch.
        judge._fitted = FittedDetector(normaliser, cast(Detector, detector), evidence=())
        judge.scorer.load_state(parts.get("scorer", {}))
        return judge


def _learnt(recipe: Recipe, state: Arrays, mels: int, runtime: Runtime) -> PatchJudge:
    """The recipe's detector with the arrays `state`."""
    table, shape = recipe.detector, (recipe.features.patch_frames, mels)
    if runtime == "onnx":
        return detector_without_torch(table.kind, table.options, shape, state)
    kind = detector_class(table.kind)
    detector = kind(kind.Options(**table.options), shape, recipe.seed)
    detector.load_state(state)
    return detector

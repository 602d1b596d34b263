"""Everything needed to judge one machine's clips, from log-mel arrays alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from acoustic_ad.detectors.base import ProgressCallback, detector_class
from acoustic_ad.errors import BundleError, ClipError, NotFittedError
from acoustic_ad.models.evidence import BandNormaliser, ClipReader, FloatArray
from acoustic_ad.models.fitting import FittedDetector, checked_log_mels, fit_detector, session_or_block
from acoustic_ad.recipe import Recipe
from acoustic_ad.scores.calibration import Calibration, fold_of
from acoustic_ad.scores.clip_score import ClipScorer, make_scorer

Array = npt.NDArray[np.float64]
# A band whose residual hardly moves over the normal clips is not allowed to look infinitely unusual.
SMALLEST_BAND_DEVIATION = 0.02
NORMAL_LIMIT_P = 0.05
MOST_CLIP_LEVELS = 10_000_000


@dataclass(frozen=True, slots=True)
class ClipScore:
    """The verdict on one clip."""

    score: float  # higher = more anomalous; its scale is the clip scorer's
    p_value: float  # share of normal clips that score as high, within 1/(n+1)..1
    bands: Array  # [mels], clip-mean level against the machine's normal, dB, signed
    band_z: Array  # [mels], clip-mean residual in standard deviations of normal clips, signed
    level_db: float  # mean over bands of the clip-mean log-mel


class MachineModel:
    """Learns from normal clips of one machine, then scores any clip of it.

    `fit` and `score` take log-mels [frames, mels] in dB, of any front-end as long as it is always the same one.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.detector: FittedDetector | None = None
        self.calibration: Calibration | None = None
        self._scorer: ClipScorer = make_scorer(
            recipe.scorer.kind, statistics=recipe.scorer.statistics, gwrp_r=recipe.scorer.gwrp_r
        )
        # [mels] each: what the clip-mean level and residual of normal clips look like
        self._normal: dict[str, Array] = {}

    def fit(
        self,
        log_mels: Sequence[FloatArray],
        sessions: Sequence[Hashable] | None = None,
        progress: ProgressCallback | None = None,
    ) -> MachineModel:
        """Learn from the log-mels [frames, mels] of normal clips, at least 10 of them.

        `sessions` [n] names the recording of each clip: clips of one recording are never split between learning and
        judging. Without it, neighbouring clips are taken to belong together.
        Raises TrainingError (too few, too short, not finite, differing mels).
        """
        clips = checked_log_mels(self.recipe, log_mels)
        groups = session_or_block(len(clips), sessions, self.recipe.training.folds)
        return self.calibrate(fit_detector(self.recipe, clips, groups, progress), clips, groups)

    def calibrate(
        self, detector: FittedDetector, log_mels: Sequence[FloatArray], sessions: Sequence[Hashable]
    ) -> MachineModel:
        """Fit scorer and calibration to one machine's clips, around a detector that may know other machines as well.

        `detector.evidence` must hold the evidence of these clips, in this order.
        """
        self.detector = detector
        fold = fold_of(sessions, self.recipe.training.folds)
        scores = self._scorer.cross_fit(detector.evidence, fold, detector.trust)
        self.calibration = Calibration.of(scores, len(set(sessions)))
        residuals = np.stack([clip.residual_mean for clip in detector.evidence])
        levels = np.stack([log_mel.mean(axis=0, dtype=np.float64) for log_mel in log_mels])
        self._normal = {
            "level_db": levels.mean(axis=0),
            "clip_levels_db": levels.mean(axis=1),
            "residual_mean": residuals.mean(axis=0),
            "residual_deviation": np.maximum(residuals.std(axis=0), SMALLEST_BAND_DEVIATION),
        }
        return self

    def recalibrate(self, log_mels: Sequence[FloatArray]) -> None:
        """Calibrate on normal clips [frames, mels] that were kept out of the fit, in place of the cross-fitted ones."""
        self.calibration = Calibration.of([self.score(log_mel).score for log_mel in log_mels], len(log_mels))

    def score(self, log_mel: FloatArray) -> ClipScore:
        """The verdict on a clip's log-mel [frames, mels]; raises ClipError `too_short` or `not_finite`."""
        return self.score_stream([log_mel])

    def score_stream(self, blocks: Iterable[FloatArray]) -> ClipScore:
        """As `score`, of a log-mel that arrives in blocks [k, mels]: a long clip needs no more memory than a short one.

        The verdict does not depend on how the clip is cut into blocks.
        """
        if self.detector is None or self.calibration is None:
            raise NotFittedError("the model has learnt nothing yet: call fit, or load it from a bundle")
        reader = ClipReader(self.recipe, self.detector.detector, self.detector.normaliser)
        for block in blocks:
            if block.ndim != 2 or block.shape[1] != self.n_mels:
                raise ClipError("bad_header", f"log-mel of shape {block.shape}; the model has {self.n_mels} mels")
            reader.add(block)
        clip, level = reader.finish()
        score = self._scorer.score(clip)
        z = (clip.residual_mean - self._normal["residual_mean"]) / self._normal["residual_deviation"]
        return ClipScore(
            score, self.calibration.p_value(score), level - self._normal["level_db"], z, float(level.mean())
        )

    def normal_range(self) -> tuple[float, float]:
        """The median score of normal clips, and the score that one in twenty of them exceeds at most."""
        if self.calibration is None:
            raise NotFittedError("the model has learnt nothing yet")
        return self.calibration.typical, self.calibration.limit(NORMAL_LIMIT_P)

    @property
    def n_mels(self) -> int:
        """Mel bands of the log-mels that the model was fitted on."""
        if self.detector is None:
            raise NotFittedError("the model has learnt nothing yet")
        return len(self.detector.normaliser.mean)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays of a fitted model, by dotted names."""
        if self.detector is None or self.calibration is None:
            raise NotFittedError("the model has learnt nothing yet: there is nothing to keep")
        parts: dict[str, Mapping[str, npt.NDArray[Any]]] = {
            "normaliser": {"mean": self.detector.normaliser.mean, "deviation": self.detector.normaliser.deviation},
            "detector": self.detector.detector.state(),
            "scorer": self._scorer.state(),
            "calibration": {"scores": self.calibration.scores},
            "normal": self._normal,
        }
        return {f"{part}.{name}": value for part, arrays in parts.items() for name, value in arrays.items()}

    @classmethod
    def from_state(
        cls, recipe: Recipe, state: Mapping[str, npt.NDArray[Any]], calibration: Calibration
    ) -> MachineModel:
        """The model whose arrays `state` holds; raises BundleError where names, shapes or finiteness do not fit."""
        parts: dict[str, dict[str, npt.NDArray[Any]]] = {}
        for name, value in state.items():
            part, _, rest = name.partition(".")
            if not np.isfinite(value).all():
                raise BundleError(f"array {name!r} contains NaN or Inf")
            parts.setdefault(part, {})[rest] = value
        extra = parts.keys() - {"normaliser", "detector", "scorer", "calibration", "normal"}
        if extra:
            raise BundleError(f"unexpected arrays: {', '.join(sorted(extra))}")
        model = cls(recipe)
        normaliser = BandNormaliser.from_state(parts.get("normaliser", {}))
        mels = len(normaliser.mean)
        model._normal = _checked_normal(parts.get("normal", {}), mels)
        kind = detector_class(recipe.detector.kind)
        detector = kind(kind.Options(**recipe.detector.options), (recipe.features.patch_frames, mels), recipe.seed)
        detector.load_state(parts.get("detector", {}))
        model.detector = FittedDetector(normaliser, detector, evidence=())
        model._scorer.load_state(parts.get("scorer", {}))
        if not np.array_equal(parts.get("calibration", {}).get("scores", np.zeros(0)), calibration.scores):
            raise BundleError("the calibration scores in the weights and in bundle.json differ")
        model.calibration = calibration
        model._try_out(mels)
        return model

    def _try_out(self, mels: int) -> None:
        """Score silence: whatever does not fit together shows now, not in the middle of a job."""
        try:
            verdict = self.score(np.full((4 * self.recipe.features.patch_frames, mels), -60.0, np.float32))
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"the arrays do not fit together: {error}") from error
        if not np.isfinite(verdict.score):
            raise BundleError("the model gives a score that is not a number")


def _checked_normal(arrays: Mapping[str, npt.NDArray[Any]], mels: int) -> dict[str, Array]:
    wanted = {"level_db", "clip_levels_db", "residual_mean", "residual_deviation"}
    if set(arrays) != wanted:
        raise BundleError(f"the model's normal needs {sorted(wanted)}, the bundle has {sorted(arrays)}")
    for name in wanted - {"clip_levels_db"}:
        if arrays[name].shape != (mels,):
            raise BundleError(f"normal.{name} is {list(arrays[name].shape)}; the model has {mels} mels")
    if arrays["clip_levels_db"].ndim != 1 or not 1 <= len(arrays["clip_levels_db"]) <= MOST_CLIP_LEVELS:
        raise BundleError(f"normal.clip_levels_db has the shape {list(arrays['clip_levels_db'].shape)}")
    if not (arrays["residual_deviation"] > 0).all():
        raise BundleError("normal.residual_deviation must be positive")
    return {name: np.asarray(value, np.float64) for name, value in arrays.items()}

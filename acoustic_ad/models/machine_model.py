"""Everything needed to judge one machine's clips, from log-mel arrays alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from acoustic_ad.detectors.base import ProgressCallback, Runtime
from acoustic_ad.errors import BundleError, ClipError, NotFittedError
from acoustic_ad.models.combination import Combination, helpful
from acoustic_ad.models.conditions import Conditions
from acoustic_ad.models.detection import DetectionCurve, detection_curves
from acoustic_ad.models.evidence import FloatArray
from acoustic_ad.models.fitting import FittedDetector, fit_detectors
from acoustic_ad.models.judge import Judge
from acoustic_ad.models.machine_sound import MachineSound
from acoustic_ad.models.planting import PlantedClip
from acoustic_ad.recipe import Recipe
from acoustic_ad.scores.calibration import Calibration, fold_of, numbered
from acoustic_ad.sound.presence import Absence, Presence

Array = npt.NDArray[np.float64]
# A band whose residual hardly moves over the normal clips is not allowed to look infinitely unusual.
SMALLEST_BAND_DEVIATION = 0.02
NORMAL_LIMIT_P = 0.05
MOST_CLIP_LEVELS = 10_000_000
NOT_OF_A_JUDGE = ("normal", "calibration", "conditions")


@dataclass(frozen=True, slots=True)
class ClipScore:
    """The verdict on one clip."""

    score: float  # higher = more anomalous; its scale is the clip scorer's
    p_value: float  # share of normal clips that score as high, within 1/(n+1)..1
    bands: Array  # [mels], clip-mean level against the machine's normal, dB, signed
    band_z: Array  # [mels], clip-mean residual in standard deviations of normal clips, signed
    level_db: float  # mean over bands of the clip-mean log-mel
    paper_score: float  # the (first) detector's own paper score, mean over the clip's patches; NaN if not asked for
    condition_known: bool = True  # False: the clip's operating condition was not in training, and is not guessed


class MachineModel:
    """Learns from normal clips of one machine, then scores any clip of it.

    `fit` and `score` take log-mels [frames, mels] in dB, of any front-end as long as it is always the same one.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.judges: list[Judge] = []
        self.kept: list[int] = [0]  # which of the recipe's judges these are
        self.combination: Combination | None = None  # of several judges
        self.calibration: Calibration | None = None
        self.conditions = Conditions()
        self.detection: tuple[DetectionCurve, ...] = ()
        # [mels] each: what the clip-mean level and residual of normal clips look like
        self._normal: dict[str, Array] = {}
        self._presence: Presence | None = None  # made of it when first asked for
        self._rounding = 0.0  # what a score may differ by from that of the runtime which calibrated the model

    @property
    def detector(self) -> FittedDetector | None:
        """Normaliser and detector of the first judge."""
        return self.judges[0].fitted if self.judges else None

    def fit(
        self,
        log_mels: Sequence[FloatArray],
        sessions: Sequence[Hashable] | None = None,
        progress: ProgressCallback | None = None,
        planted: Sequence[PlantedClip] = (),
        conditions: Sequence[str] | None = None,
        start: MachineModel | None = None,
    ) -> MachineModel:
        """Learn from the log-mels [frames, mels] of normal clips, at least 10 of them.

        `sessions` [n] names the recording of each clip: clips of one recording are never split between learning and
        judging. Without it, neighbouring clips are taken to belong together. `planted` are clips with planted faults,
        by which the model chooses where its recipe says so, and measures its detection limit. `conditions` [n] names
        the operating condition of each clip, where the recipe goes by a column. Networks start from those of `start`,
        the model of a similar machine, if there is one.
        Raises TrainingError (too few, too short, not finite, differing mels).
        """
        sound = MachineSound.of(self.recipe, log_mels, sessions, planted, conditions)
        return self.calibrate(fit_detectors(self.recipe, [sound], progress, start)[0], sound)

    def calibrate(self, detectors: Sequence[FittedDetector], sound: MachineSound) -> MachineModel:
        """Fit scorers and calibration to one machine's clips, around detectors that may know other machines as well.

        There is a detector for each judge of the recipe; its `evidence` is that of these clips, in this order.
        """
        fold = fold_of(sound.sessions, self.recipe.training.folds)[sound.judged]
        into = np.searchsorted(sound.judged, [one.clip for one in sound.planted]).tolist()
        judges = [Judge(recipe) for recipe in self.recipe.judges]
        scores = [judge.fit(found, fold, into) for judge, found in zip(judges, detectors, strict=True)]
        kept = [0]
        if self.recipe.members:
            kept = helpful(scores, self.recipe.combine)
            self.combination = Combination.of([scores[number] for number in kept])
        self.kept, self.judges = kept, [judges[number] for number in kept]
        normal = self._combined([scores[number].normal for number in kept])
        changed = self._combined([scores[number].planted for number in kept])
        self.conditions = sound.conditions
        session = numbered(sound.sessions[sound.judged])
        condition = None if sound.condition is None else sound.condition[sound.judged]
        recordings = int(session.max()) + 1
        self.calibration = Calibration.of(normal, recordings, condition, sound.conditions.names, session)
        self.detection = detection_curves(sound.planted, changed, self.calibration.limit(NORMAL_LIMIT_P))
        self._normal, self._presence = self._describe_normal(detectors[kept[0]], sound), None
        return self

    def _combined(self, scores: Sequence[Array]) -> Array:
        return scores[0] if self.combination is None else self.combination(np.stack(scores))

    @staticmethod
    def _describe_normal(detector: FittedDetector, sound: MachineSound) -> dict[str, Array]:
        residuals = np.stack([clip.statistics["residual"] for clip in detector.evidence])
        levels = np.stack([sound.log_mels[int(clip)].mean(axis=0, dtype=np.float64) for clip in sound.judged])
        return {
            "level_db": levels.mean(axis=0),
            "clip_levels_db": levels.mean(axis=1),
            "residual_mean": residuals.mean(axis=0),
            "residual_deviation": np.maximum(residuals.std(axis=0), SMALLEST_BAND_DEVIATION),
        } | Presence.of(levels).state()

    def recalibrate(self, log_mels: Sequence[FloatArray], conditions: Sequence[str] | None = None) -> None:
        """Calibrate on normal clips [frames, mels] that were kept out of the fit, in place of the cross-fitted ones.

        Clips of conditions that were not learnt are passed over.
        """
        named = zip(log_mels, conditions or [""] * len(log_mels), strict=True)
        known = [(name, self.score(log_mel, name).score) for log_mel, name in named if self.conditions.knows(name)]
        if known:
            numbers = self.conditions.numbers([name for name, _ in known])
            scores = [score for _, score in known]
            self.calibration = Calibration.of(scores, len(known), numbers, self.conditions.names)

    def score(self, log_mel: FloatArray, condition: str | None = None) -> ClipScore:
        """The verdict on a clip's log-mel [frames, mels]; raises ClipError `too_short` or `not_finite`."""
        return self.score_stream([log_mel], condition)

    def score_stream(self, blocks: Iterable[FloatArray], condition: str | None = None, paper: bool = True) -> ClipScore:
        """As `score`, of a log-mel that arrives in blocks [k, mels]: a long clip needs no more memory than a short one.

        The verdict does not depend on how the clip is cut into blocks. Without `paper` the paper score is left out
        where the verdict does not need it.
        """
        if not self.judges or self.calibration is None:
            raise NotFittedError("the model has learnt nothing yet: call fit, or load it from a bundle")
        readers = [judge.reader(paper) for judge in self.judges]
        for block in blocks:
            if block.ndim != 2 or block.shape[1] != self.n_mels:
                raise ClipError("bad_header", f"log-mel of shape {block.shape}; the model has {self.n_mels} mels")
            corrected = self.conditions.corrected(block, condition)
            for reader in readers:
                reader.add(corrected)
        clips, levels = zip(*(reader.finish() for reader in readers), strict=True)
        scores = [np.array(judge.scorer.score(clip)) for judge, clip in zip(self.judges, clips, strict=True)]
        score = float(self._combined(scores))
        weights = self.conditions.weights(self.calibration.condition, condition)
        z = (clips[0].statistics["residual"] - self._normal["residual_mean"]) / self._normal["residual_deviation"]
        return ClipScore(
            score,
            self.calibration.p_value(score - self._rounding, weights),
            levels[0] - self._normal["level_db"],
            z,
            float(levels[0].mean()),
            float(clips[0].patch_scores.mean()),
            self.conditions.knows(condition),
        )

    def detector_state_for(self, recipe: Recipe, mels: int) -> Mapping[str, npt.NDArray[Any]] | None:
        """The state of this model's detector that is made as `recipe` says, for that many mels; None without one."""
        for judge in self.judges:
            same_shape = judge.recipe.features.patch_frames == recipe.features.patch_frames and self.n_mels == mels
            if judge.recipe.detector == recipe.detector and same_shape:
                return judge.fitted.detector.state()
        return None

    def normal_range(self) -> tuple[float, float]:
        """The median score of normal clips, and the score that one in twenty of them exceeds at most."""
        if self.calibration is None:
            raise NotFittedError("the model has learnt nothing yet")
        return self.calibration.typical, self.calibration.limit(NORMAL_LIMIT_P)

    def absence(self, verdict: ClipScore) -> tuple[Absence, str] | None:
        """Why a clip says nothing of the machine's health, where it is off or hardly heard; None: it is there.

        None always where the model is older than this question.
        """
        if "likeness" not in self._normal:
            return None
        level_db = self._normal["level_db"]
        if self._presence is None:
            self._presence = Presence.from_state(self._normal, level_db, self._normal["clip_levels_db"])
        return self._presence.judge(verdict.bands + level_db)

    @property
    def n_mels(self) -> int:
        """Mel bands of the log-mels that the model was fitted on."""
        if self.detector is None:
            raise NotFittedError("the model has learnt nothing yet")
        return len(self.detector.normaliser.mean)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays of a fitted model, by dotted names."""
        if not self.judges or self.calibration is None:
            raise NotFittedError("the model has learnt nothing yet: there is nothing to keep")
        parts: dict[str, Mapping[str, npt.NDArray[Any]]] = {
            "calibration": self.calibration.state(),
            "normal": self._normal,
            "conditions": self.conditions.state(),
        }
        if self.combination is None:
            parts[""] = self.judges[0].state()
        else:
            parts["combination"] = self.combination.state()
            parts |= {f"judge_{number}": judge.state() for number, judge in zip(self.kept, self.judges, strict=True)}
        return {f"{part}.{name}".lstrip("."): value for part, arrays in parts.items() for name, value in arrays.items()}

    @classmethod
    def from_state(
        cls, recipe: Recipe, state: Mapping[str, npt.NDArray[Any]], calibration: Calibration, runtime: Runtime = "torch"
    ) -> MachineModel:
        """The model whose arrays `state` holds; by "onnx" it can only score. Raises BundleError: they do not fit."""
        for name, value in state.items():
            if not np.isfinite(value).all():
                raise BundleError(f"array {name!r} contains NaN or Inf")
        parts = _parts(state)
        model = cls(recipe)
        model._normal = _checked_normal(parts.get("normal", {}))
        mels = len(model._normal["level_db"])
        of_judges = {name: parts[name] for name in parts if name not in NOT_OF_A_JUDGE}
        model._take_judges(of_judges, mels, runtime)
        model.conditions = Conditions.from_state(parts.get("conditions", {}), calibration.conditions, mels)
        if bool(recipe.condition) != bool(calibration.conditions):
            raise BundleError("the recipe and the calibration disagree about operating conditions")
        if not np.array_equal(parts.get("calibration", {}).get("scores", np.zeros(0)), calibration.scores):
            raise BundleError("the calibration scores in the weights and in bundle.json differ")
        model.calibration = calibration
        model._rounding = 0.0 if runtime == "torch" else calibration.rounding
        model._try_out(mels, paper=runtime == "torch")  # by onnxruntime, each way is a network of its own
        return model

    def _take_judges(self, parts: dict[str, dict[str, npt.NDArray[Any]]], mels: int, runtime: Runtime) -> None:
        if not self.recipe.members:
            self.judges = [Judge.from_state(self.recipe, parts, mels, runtime)]
            return
        numbers = [number for number in range(len(self.recipe.members)) if f"judge_{number}" in parts]
        if set(parts) != {"combination", *(f"judge_{number}" for number in numbers)} or not numbers:
            raise BundleError(f"an ensemble keeps its judges and their combination, the bundle has {sorted(parts)}")
        self.kept = numbers
        recipes = self.recipe.judges
        given = [(recipes[number], _parts(parts[f"judge_{number}"])) for number in numbers]
        self.judges = [Judge.from_state(recipe, arrays, mels, runtime) for recipe, arrays in given]
        self.combination = Combination.from_state(parts["combination"], len(numbers))

    def _try_out(self, mels: int, paper: bool) -> None:
        """Score silence: whatever does not fit together shows now, not in the middle of a job."""
        try:
            frames = 4 * max(judge.recipe.features.patch_frames for judge in self.judges)
            verdict = self.score_stream([np.full((frames, mels), -60.0, np.float32)], paper=paper)
            self.absence(verdict)
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"the arrays do not fit together: {error}") from error
        if not np.isfinite(verdict.score):
            raise BundleError("the model gives a score that is not a number")


def _parts(state: Mapping[str, npt.NDArray[Any]]) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """Arrays by the first part of their dotted names."""
    parts: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = value
    return parts


def _checked_normal(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Array]:
    wanted = {"level_db", "clip_levels_db", "residual_mean", "residual_deviation"}
    of_presence = {"level_deviation_db", "structure_db", "likeness"}  # older bundles have none of them
    if set(arrays) not in (wanted, wanted | of_presence):
        raise BundleError(f"the model's normal needs {sorted(wanted)}, the bundle has {sorted(arrays)}")
    mels = arrays["level_db"].size
    for name in wanted - {"clip_levels_db"}:
        if arrays[name].shape != (mels,):
            raise BundleError(f"normal.{name} is {list(arrays[name].shape)}; the model has {mels} mels")
    if arrays["clip_levels_db"].ndim != 1 or not 1 <= len(arrays["clip_levels_db"]) <= MOST_CLIP_LEVELS:
        raise BundleError(f"normal.clip_levels_db has the shape {list(arrays['clip_levels_db'].shape)}")
    if not (arrays["residual_deviation"] > 0).all():
        raise BundleError("normal.residual_deviation must be positive")
    return {name: np.asarray(value, np.float64) for name, value in arrays.items()}

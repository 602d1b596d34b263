"""The parts of a bundle.json: what they hold, and how they are made from a fitted model."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from acoustic_ad.models.names import check_version

if TYPE_CHECKING:  # torch and scikit-learn take seconds to import; listing models needs neither
    from acoustic_ad.detectors.base import Progress
    from acoustic_ad.models.fitting import FittedDetector
    from acoustic_ad.models.machine_model import MachineModel
    from acoustic_ad.scores.calibration import Calibration


def _utc_time(text: str) -> str:
    if datetime.fromisoformat(text).utcoffset() is None:
        raise ValueError(f"{text!r} has no time zone")
    return text


Count = Annotated[int, Field(ge=0, le=10**12)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[str, AfterValidator(check_version)]
UtcTime = Annotated[str, AfterValidator(_utc_time)]  # ISO 8601, with its zone


class Facts(BaseModel):
    """A part of a JSON document: nothing unknown, nothing converted, everything finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class LeftOut(Facts):
    """A clip that training left out, and why."""

    clip_id: str
    code: str
    reason: str


class CurvePoint(Facts):
    """Losses at one step of the training; null where there was none, or none that is finite."""

    step: Count
    loss: float | None  # mean since the point before
    held_out_loss: float | None  # mean over held-out patches
    # Older bundles have neither of these.
    # Older bundles have neither of these.
    held_out_spread: Annotated[float, Field(ge=0)] | None = None  # standard deviation over held-out patches
    losses: Annotated[dict[str, float | None], Field(max_length=64)] = {}  # named parts of `loss`


class TrainingFacts(Facts):
    """How the training went."""

    seconds: Annotated[float, Field(ge=0)]
    steps: Count
    cross_fitted: bool
    curve: tuple[CurvePoint, ...]


class CalibrationFacts(Facts):
    """What the p-values rest on; the n scores themselves are among the arrays."""

    n: Annotated[Count, Field(ge=1)]
    sessions: Count
    made_at: UtcTime
    smallest_p: Annotated[float, Field(gt=0, le=1)]
    promise: str
    conditions: tuple[str, ...] = ()  # the operating conditions that were learnt, where the recipe goes by a column


class FileFacts(Facts):
    """A file beside bundle.json."""

    bytes: Count
    sha256: Sha256


class JudgeFacts(Facts):
    """A detector of the model, and what its scorer goes by."""

    recipe: str
    detector: str
    statistics: tuple[str, ...]  # each with its back-end: "spectrum:mahalanobis"; none for the paper score


class DetectionFacts(Facts):
    """How faint one kind of planted fault is found: the share of clips in which it is, by its level."""

    kind: str
    words: str
    low_hz: float | None
    high_hz: float | None
    levels_db: tuple[float, ...]
    found: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    limit_db: float | None  # from which on half of the clips are found; null: never


def training_facts(detector: FittedDetector, seconds: float) -> dict[str, Any]:
    """Of how the first network was trained; the curve is its own."""
    training = detector.training
    return {
        "seconds": float(seconds),
        "steps": training.steps,
        "cross_fitted": detector.cross_fitted,
        "curve": [_curve_point(at) for at in training.curve],
    }


def _curve_point(at: Progress) -> dict[str, Any]:
    return {
        "step": at.step,
        "loss": _or_null(at.loss),
        "held_out_loss": _or_null(at.held_out_loss),
        "held_out_spread": _or_null(at.held_out_spread),
        "losses": {name: _or_null(part) for name, part in at.losses.items()},
    }


def calibration_facts(calibration: Calibration) -> dict[str, Any]:
    """Of a calibration."""
    return {
        "n": len(calibration.scores),
        "sessions": calibration.sessions,
        "made_at": calibration.made_at.isoformat(),
        "smallest_p": calibration.smallest_p,
        "promise": calibration.promise(),
        "conditions": [storable(name) for name in calibration.conditions],
    }


def judge_facts(model: MachineModel) -> list[dict[str, Any]]:
    """Of each judge of the model."""
    return [
        {
            "recipe": storable(judge.recipe.name),
            "detector": judge.recipe.detector.kind,
            "statistics": [":".join(component) for component in getattr(judge.scorer, "chosen", ())],
        }
        for judge in model.judges
    ]


def detection_facts(model: MachineModel) -> list[dict[str, Any]]:
    """Of each kind of fault that was planted."""
    return [asdict(curve) | {"limit_db": curve.limit_db} for curve in model.detection]


def _or_null(loss: float) -> float | None:
    return float(loss) if math.isfinite(loss) else None


def storable(text: str) -> str:
    """Half a surrogate pair (a file name that is not UTF-8) is no JSON text: shown as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()

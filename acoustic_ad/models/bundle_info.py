"""What a bundle says of itself: the schema of bundle.json, how it is made and how it is checked."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from pydantic import Field, ValidationError

from acoustic_ad import __version__
from acoustic_ad.errors import BundleError, NotFittedError
from acoustic_ad.models.bundle_facts import (
    CalibrationFacts,
    Count,
    DetectionFacts,
    Facts,
    FileFacts,
    JudgeFacts,
    LeftOut,
    Sha256,
    TrainingFacts,
    UtcTime,
    Version,
    calibration_facts,
    detection_facts,
    judge_facts,
    storable,
    training_facts,
)
from acoustic_ad.models.bundle_files import strict_json
from acoustic_ad.recipe import Recipe

if TYPE_CHECKING:  # torch and scikit-learn take seconds to import; listing models needs neither
    from acoustic_ad.models.machine_model import MachineModel
    from acoustic_ad.sound.features import FeatureSpec

FORMAT: Final = 2
JSON_NAME: Final = "bundle.json"
WEIGHTS_NAME: Final = "weights.safetensors"
# What a score may depend on, by the names that they are installed under.
PACKAGES: Final = {"torch": "torch", "torchaudio": "torchaudio", "numpy": "numpy", "sklearn": "scikit-learn"}


class BundleInfo(Facts):
    """What a bundle says of itself: bundle.json, checked."""

    format: Literal[2]
    machine: str
    version: Version
    created_at: UtcTime
    digest: Sha256  # over all of bundle.json and, by their hashes, the arrays: the model's identity in the store
    recipe: Recipe
    features_from: Literal["audio", "outside"]  # outside: log-mels that this package did not compute
    front_end: dict[str, int | float] | None  # the fields of FeatureSpec
    spec_digest: Sha256 | None
    n_clips: Count
    manifest_digest: str
    left_out: tuple[LeftOut, ...]
    versions: dict[str, str]
    training: TrainingFacts
    calibration: CalibrationFacts
    judges: tuple[JudgeFacts, ...]
    detection: tuple[DetectionFacts, ...]
    files: Annotated[dict[Literal["weights.safetensors"], FileFacts], Field(min_length=1)]
    extra: dict[str, Any]

    @property
    def sessions(self) -> int:
        """Recordings behind the calibration."""
        return self.calibration.sessions

    @property
    def seed(self) -> int:
        """The recipe's seed."""
        return self.recipe.seed

    @property
    def feature_spec(self) -> FeatureSpec | None:
        """The front-end of the training clips, None where features came from outside.

        Raises BundleError where this version of the package computes other features from the same spec.
        """
        from acoustic_ad.sound.features import FeatureSpec

        if (self.features_from == "audio") != (self.front_end is not None and self.spec_digest is not None):
            raise BundleError("features_from and front_end contradict each other")
        if self.front_end is None:
            return None
        try:
            spec = FeatureSpec(**self.front_end)  # type: ignore[arg-type]  # wrong kinds give another digest
        except TypeError as error:
            raise BundleError(f"front_end is not a feature spec: {error}") from error
        if spec.digest != self.spec_digest:
            raise BundleError("the features were made by another version of the front-end: train the machine again")
        return spec


@dataclass(frozen=True, slots=True)
class TrainingDetails:
    """What only the training job knows of a model."""

    n_clips: int
    feature_spec: FeatureSpec | None = None  # None: features came from outside
    manifest_digest: str = ""
    left_out: Sequence[Mapping[str, str]] = ()  # {clip_id, code, reason} each
    seconds: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)  # JSON
    kept: BundleInfo | None = None  # of the same model with another calibration: how it was trained is known from there


def describe(machine: str, version: str, model: MachineModel, details: TrainingDetails, weights: FileFacts) -> bytes:
    """The bundle.json of a fitted model, checked.

    Raises NotFittedError, or BundleError where a name or a number cannot be kept.
    """
    if model.detector is None or model.calibration is None:
        raise NotFittedError("the model has learnt nothing yet: there is nothing to keep")
    spec = details.feature_spec
    document = {
        "format": FORMAT,
        "machine": machine,
        "version": version,
        "created_at": datetime.now(UTC).replace(microsecond=0).isoformat(),
        "recipe": model.recipe.model_dump(mode="json"),
        "features_from": "outside" if spec is None else "audio",
        "front_end": None if spec is None else asdict(spec),
        "spec_digest": None if spec is None else spec.digest,
        "n_clips": details.n_clips,
        "manifest_digest": details.manifest_digest,
        "left_out": [{key: storable(text) for key, text in clip.items()} for clip in details.left_out],
        "versions": _versions(),
        "training": training_facts(model.detector, details.seconds),
        "calibration": calibration_facts(model.calibration),
        "judges": judge_facts(model),
        "detection": detection_facts(model),
        "files": {WEIGHTS_NAME: weights.model_dump()},
        "extra": dict(details.extra),
    }
    if details.kept is not None:
        document |= details.kept.model_dump(mode="json", include={"training", "detection"})
    try:
        document["digest"] = _digest(document)
        text = json.dumps(document, indent=2, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise BundleError(f"the model's description cannot be kept as JSON: {error}") from error
    parse(text)
    return text


def parse(content: bytes) -> BundleInfo:
    """The content of a bundle.json, checked; raises BundleError with the reason."""
    document = strict_json(content, JSON_NAME)
    number = document.get("format")
    if isinstance(number, int) and number > FORMAT:
        raise BundleError(
            f"made by a newer acoustic-ad (format {number}; this one reads {FORMAT}): upgrade acoustic-ad"
        )
    if number == 1:
        raise BundleError("made by an older acoustic-ad, with other clip scorers (format 1): train the machine again")
    info = validated(BundleInfo, document, JSON_NAME)
    if info.digest != _digest(document):
        raise BundleError(f"{JSON_NAME} was changed after it was written: its digest does not fit its content")
    return info


AnyFacts = TypeVar("AnyFacts", bound=Facts)


def validated(kind: type[AnyFacts], document: Mapping[str, Any], what: str) -> AnyFacts:
    """A parsed JSON document as `kind`; raises BundleError that names the keys that do not fit."""
    try:
        return kind.model_validate_json(_canonical(document))
    except ValidationError as error:
        found = [f"{_key(one['loc']) or what}: {one['msg']}" for one in error.errors()]
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise BundleError(f"{what} does not fit its schema: {'; '.join(found[:3])}{more}") from error
    except RecursionError as error:
        raise BundleError(f"{what} is nested too deeply") from error


def _key(path: tuple[int | str, ...]) -> str:
    """A key's path, safe to print: keys of a hostile document may hold anything, at any length."""
    return ".".join(map(str, path)).encode("unicode_escape").decode()[:100]


def sha256(content: bytes) -> str:
    """Hexadecimal sha256."""
    return hashlib.sha256(content).hexdigest()


def _canonical(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(document: Mapping[str, Any]) -> str:
    """sha256 over the content, independent of layout; the hashes of the files are part of it."""
    return sha256(_canonical({key: value for key, value in document.items() if key != "digest"}).encode())


def _versions() -> dict[str, str]:
    found = {"acoustic_ad": __version__, "python": platform.python_version()}
    for name, package in PACKAGES.items():
        try:
            found[name] = installed(package)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found

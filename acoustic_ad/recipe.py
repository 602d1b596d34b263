"""A recipe: one way of working, from sample rate to scorer, read from TOML and checked in full before anything runs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from acoustic_ad.errors import RecipeError, UsageError
from acoustic_ad.recipe_files import recipe_files

# The names that `acoustic_ad.scores` goes by, which takes seconds to import; a test holds them against it.
ScorerKind = Literal["mahalanobis", "gaussian_mixture", "nearest_neighbour", "paper", "auto"]
Statistic = Literal[
    "residual", "residual_spread", "residual_high", "residual_gwrp_90", "residual_gwrp_50",
    "spectrum", "spectrum_spread", "spectrum_high", "spectrum_gwrp_90", "spectrum_gwrp_50",
    "power", "modulation", "latent",
]  # fmt: skip
ENSEMBLE = "ensemble"  # the detector of a recipe with members
OF_NO_EFFECT = ("window_clips", "unusual_share")  # keys of [health] in recipes of older bundles


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AudioTable(_Table):
    """How a file becomes one channel of samples."""

    sample_rate_hz: int = Field(16_000, ge=1_000, le=384_000)
    channel: Literal["mean"] | int = "mean"  # or the number of a channel, from 0

    @field_validator("channel")
    @classmethod
    def _channel_exists(cls, channel: Literal["mean"] | int) -> Literal["mean"] | int:
        if isinstance(channel, int) and not 0 <= channel < 64:
            raise ValueError(f"channel {channel} is not within 0..63")
        return channel


class FeaturesTable(_Table):
    """Log-mel frames, and the patches of them that the detector sees."""

    n_fft: int = Field(1024, ge=16, le=65_536, multiple_of=2)
    hop_s: float = Field(0.032, gt=0, le=10)
    n_mels: int = Field(128, ge=2, le=1024)
    fmin_hz: float = Field(0.0, ge=0)
    fmax_hz: float = Field(8_000.0, gt=0)
    patch_frames: int = Field(5, ge=1, le=1024)
    patch_hop_frames: int = Field(1, ge=1, le=1024)
    remove_level: bool = False  # subtract each clip's mean level: deaf to loudness, on purpose


class DetectorTable(_Table):
    """Which detector; every other key is an option of that detector."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    kind: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.__pydantic_extra__ or {})


class ScorerTable(_Table):
    """How a clip's evidence becomes one number."""

    kind: ScorerKind = "mahalanobis"
    statistics: tuple[Statistic, ...] = Field(("residual",), min_length=1)  # of all kinds but paper and auto
    clouds: tuple[Statistic, ...] = ()  # statistics beside these, each judged by one cloud (mahalanobis)
    gwrp_r: float = Field(1.0, gt=0, le=1)  # paper: 1 is the mean over patches, towards 0 the largest

    @property
    def chooses(self) -> bool:
        """Whether planted faults decide which statistics are taken, or how much each counts."""
        return self.kind == "auto" or (self.kind != "paper" and len(self.statistics + self.clouds) > 1)


class TrainingTable(_Table):
    """How the training clips are divided."""

    warm_start: bool = False  # networks start from those of another machine of the same type that was trained before
    folds: int = Field(5, ge=2, le=50)  # of recordings; one is held out to stop on, all serve cross-fitted calibration


class HealthTable(_Table):
    """From clip scores to states and alarms: any keys of `health.policy.Policy`, with its defaults for the others."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    @property
    def options(self) -> dict[str, Any]:
        return {key: value for key, value in (self.__pydantic_extra__ or {}).items() if key not in OF_NO_EFFECT}

    def problems(self) -> list[str]:
        from acoustic_ad.health.policy import policy_problems

        return [f"health.{problem}" for problem in policy_problems(self.options)]


class Recipe(_Table):
    """Everything that decides how a model is made and used.

    With `members`, several recipes judge each clip behind one front-end: `combine = "mean"` averages the z-scores of
    those that help to find planted faults, "best" keeps the one that finds most.
    """

    name: str = Field(min_length=1)
    seed: int = Field(0, ge=0, lt=2**32)
    group: Literal["machine", "machine_type"] = "machine"
    audio: AudioTable = AudioTable()
    features: FeaturesTable = FeaturesTable()
    detector: DetectorTable
    scorer: ScorerTable = ScorerTable()
    training: TrainingTable = TrainingTable()
    health: HealthTable = HealthTable()
    condition: str = ""  # a manifest column (speed, load, product): normal is learnt for each of its values
    members: tuple[Recipe, ...] = ()
    combine: Literal["mean", "best"] = "mean"

    @model_validator(mode="before")
    @classmethod
    def _members_stand_for_a_detector(cls, table: Any) -> Any:
        if isinstance(table, Mapping) and table.get("members") and "detector" not in table:
            return {**table, "detector": {"kind": ENSEMBLE}}
        return table

    @property
    def judges(self) -> tuple[Recipe, ...]:
        """The recipes that judge each clip: the members, as far as they are their own masters, or this one."""
        shared = {
            "seed": self.seed,
            "group": self.group,
            "condition": self.condition,
            "audio": self.audio,
            "training": self.training,
        }
        return tuple(member.model_copy(update=shared) for member in self.members) or (self,)

    @property
    def chooses(self) -> bool:
        """Whether planted faults decide something: members, statistics or their weights."""
        return len(self.judges) > 1 or any(judge.scorer.chooses for judge in self.judges)

    @property
    def hop_samples(self) -> int:
        """The hop between frames in samples at the recipe's sample rate."""
        return round(self.features.hop_s * self.audio.sample_rate_hz)

    def problems(self, detectors: bool = True) -> list[str]:
        """Impossible combinations across tables, each with the paths of its keys.

        Without `detectors` their options are not looked at: that loads torch.
        """
        found = self.health.problems()
        features, rate = self.features, self.audio.sample_rate_hz
        if features.fmin_hz >= features.fmax_hz:
            found.append(f"features.fmin_hz: {features.fmin_hz:g} is not below features.fmax_hz {features.fmax_hz:g}")
        if features.fmax_hz > rate / 2:
            found.append(
                f"features.fmax_hz: {features.fmax_hz:g} is above {rate / 2:g} Hz, half of audio.sample_rate_hz"
            )
        if self.hop_samples < 1:
            found.append(f"features.hop_s: {features.hop_s:g} s is less than one sample at audio.sample_rate_hz {rate}")
        if features.patch_hop_frames > features.patch_frames:
            found.append(
                f"features.patch_hop_frames: {features.patch_hop_frames} is above features.patch_frames "
                f"{features.patch_frames}: frames between patches would never be heard"
            )
        if self.members or self.detector.kind == ENSEMBLE:
            return found + self._member_problems(detectors)
        return found + (self._detector_problems() if detectors else [])

    def _member_problems(self, detectors: bool) -> list[str]:
        if self.detector.kind != ENSEMBLE or self.detector.options:
            return ["detector: a recipe has members or a detector, not both"]
        if not self.members:
            return ["members: an ensemble needs recipes"]
        own = {"patch_frames", "patch_hop_frames"}
        found = []
        for number, member in enumerate(self.members):
            found += [f"members.{number}.{problem}" for problem in member.problems(detectors)]
            if member.members:
                found.append(f"members.{number}.members: an ensemble of ensembles is one ensemble: list them all")
            if member.audio != self.audio:
                found.append(f"members.{number}.audio: differs from the ensemble's; all share one front-end")
            if member.features.model_dump(exclude=own) != self.features.model_dump(exclude=own):
                found.append(f"members.{number}.features: differ from the ensemble's; all share one front-end")
        return found

    def _detector_problems(self) -> list[str]:
        from acoustic_ad.detectors.base import detector_class

        try:
            detector_class(self.detector.kind).Options(**self.detector.options)
        except ValidationError as error:
            return _lines(error, prefix=("detector",))
        except UsageError as error:
            return [f"detector.kind: {error}"]
        return []


def parse_recipe(table: Mapping[str, Any], source: str, detectors: bool = True) -> Recipe:
    """The recipe in a TOML or JSON table; raises RecipeError that lists every problem with the path of its key.

    `detectors`: as in `Recipe.problems`.
    """
    problems, wrong = [], set()
    try:
        recipe = Recipe.model_validate(dict(table))
    except ValidationError as error:
        problems = _lines(error)
        wrong = {".".join(str(part) for part in problem["loc"][:2]) for problem in error.errors()}
        recipe = _without(table, wrong)
        if "detector" not in table:  # one of an ensemble is not missing, and any other is already said to be
            wrong.add("detector")
    # Wrong values hide no others: all errors come at once, but none that is about a default in a wrong value's place.
    problems += [line for line in recipe.problems(detectors) if not _about(line, wrong)]
    if problems:
        raise RecipeError(f"recipe {source}:\n" + "\n".join(f"  {line}" for line in problems))
    return recipe


def load_recipe(name_or_path: str | Path, *, member: bool = False) -> Recipe:
    """The recipe installed under a name, or the one in a TOML file.

    Raises UsageError (no such recipe; the names are listed) or RecipeError (all problems at once).
    """
    path = Path(name_or_path)
    if path.suffix != ".toml" and path.parent == Path():
        path = recipe_files().get(str(name_or_path), path)
    if path.suffix != ".toml":
        raise UsageError(
            f"no recipe {str(name_or_path)!r}; there are: {', '.join(recipe_files())}; or give a .toml file"
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"recipe {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path}: not TOML: {error}") from error
    if member and table.get("members"):  # said here, since a recipe may name itself
        raise RecipeError(f"recipe {name_or_path}: an ensemble of ensembles is one ensemble: list all their members")
    return parse_recipe(_with_members(table), str(name_or_path))


def _with_members(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table with members that are named put in whole: a bundle's recipe names no files."""
    members = table.get("members")
    if not isinstance(members, list):
        return dict(table)
    whole, problems = [], []
    for member in members:
        try:
            named = isinstance(member, str)
            whole.append(load_recipe(member, member=True).model_dump(mode="json") if named else member)
        except RecipeError as error:
            problems.append(str(error))
    if problems:
        raise RecipeError("\n".join(problems))
    return {**table, "members": whole}


def _without(table: Mapping[str, Any], wrong: set[str]) -> Recipe:
    """The recipe with defaults in place of the wrong keys (dotted paths), as far as `Recipe.problems` reads it."""
    kept: dict[str, dict[str, Any]] = {}
    for name in ("audio", "features", "detector", "health"):
        part = table.get(name)
        keys = part.items() if isinstance(part, Mapping) else ()
        kept[name] = {key: value for key, value in keys if f"{name}.{key}" not in wrong}
    kept["detector"].setdefault("kind", "missing")
    return Recipe.model_validate({"name": "incomplete", **kept})


def _about(line: str, paths: set[str]) -> bool:
    return any(word == path or word.startswith(f"{path}.") for word in re.findall(r"[\w.]+", line) for path in paths)


def _lines(error: ValidationError, prefix: tuple[str, ...] = ()) -> list[str]:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in (*prefix, *problem["loc"])) or "(recipe)"
        message = "unknown key" if problem["type"] == "extra_forbidden" else problem["msg"]
        given = problem.get("input")
        shown = "" if isinstance(given, Mapping) or problem["type"] == "missing" else f" (given: {given!r})"
        lines.append(f"{where}: {message}{shown}")
    return lines

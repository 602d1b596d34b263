"""The detector contract, and the register that finds every detector in this folder.

A detector is arrays in, arrays out: it knows patches, not paths, thresholds or machines. To add one, add one file here
with a class marked `@register("name")`; recipes can name it at once and the contract test picks it up.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from acoustic_ad.errors import BundleError, NotFittedError, UsageError

if TYPE_CHECKING:
    from torch import nn

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
State = Mapping[str, npt.NDArray[Any]]
# What judges patches: torch, or onnxruntime and numpy, which load in a fraction of the time and the memory.
Runtime = Literal["torch", "onnx"]


class Options(BaseModel):
    """A detector's own options, as a recipe's [detector] table gives them: frozen, nothing unknown, all finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PatchSource(Protocol):
    """Patches [N, frames, mels]: a plain array, or anything that gives patches for an integer index array."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: IntArray, /) -> FloatArray: ...


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a detector says of each of N patches."""

    score: FloatArray  # [N], the anomaly score of the method's own paper, higher = more anomalous
    residual: FloatArray  # [N, mels], what the reconstruction left unexplained, signed: positive = louder than expected
    latent: FloatArray  # [N, D], the code


@dataclass(frozen=True, slots=True)
class Progress:
    """One report of a training in progress."""

    step: int
    steps: int
    loss: float  # mean training loss since the last report
    held_out_loss: float  # mean over held-out patches; NaN where none are held out
    losses: Mapping[str, float] = field(default_factory=dict)  # the parts of the training loss, by name; may be empty
    held_out_spread: float = math.nan  # standard deviation of that loss over the same patches; NaN as above


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Training:
    """How a training went."""

    steps: int = 0  # at which the kept weights stood; 0 where nothing is learnt step by step
    curve: tuple[Progress, ...] = ()


class PatchJudge(Protocol):
    """What scoring asks of a learnt detector, by whatever runtime."""

    def evidence(self, patches: FloatArray, paper: bool = True) -> Evidence:
        """Evidence for patches [N, frames, mels].

        Where the paper score is not wanted, it may be NaN: with some detectors it costs more than all the rest.
        """

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Named arrays that `Detector.load_state` turns back into the same detector."""


class Detector(PatchJudge, Protocol):
    """Learns normal patches; gives evidence for any.

    Patches are normalised per band with the training mean and deviation. Scoring is deterministic, and a patch's
    evidence depends on the batch that it stands in, and on its place there, by no more than rounding. Every method but
    `fit` and `load_state` raises NotFittedError before one of the two.
    """

    Options: ClassVar[type[Options]]

    def __init__(self, options: Any, patch_shape: tuple[int, int], seed: int = 0) -> None: ...

    def fit(
        self,
        patches: PatchSource,
        held_out: PatchSource | None = None,
        *,
        steps: int | None = None,
        start: State | None = None,
        progress: ProgressCallback | None = None,
    ) -> Training:
        """Learn from patches [N, frames, mels] of normal clips.

        `held_out`, patches of other normal clips, decide when to stop; without them all steps are taken, `steps` of
        them where given, else as many as the options say. `start` is the state of a detector of the
        same shape that knows a similar machine: what is learnt step by step starts from there; others pass over it.
        """

    def reconstruct(self, patches: FloatArray) -> FloatArray:
        """What the detector expected to hear in place of the patches, [N, frames, mels]."""

    def module(self) -> nn.Module:
        """What `evidence` computes, as one module: patches [N, frames, mels] -> score [N], residual [N, mels], latent.

        In evaluation mode, float32 in and out, of operations that do not depend on N, so that it can be exported. It
        stands for what is learnt so far: ask again after another `fit`.
        """

    def load_state(self, state: State) -> None:
        """Take over a `state`; raises BundleError where keys, shapes or finiteness do not fit."""


AnyDetector = TypeVar("AnyDetector", bound=type)
_REGISTER: dict[str, type[Detector]] = {}


def register(kind: str) -> Callable[[AnyDetector], AnyDetector]:
    """Class decorator: make a detector available under the name `kind`."""

    def add(cls: AnyDetector) -> AnyDetector:
        if kind in _REGISTER and _REGISTER[kind].__qualname__ != cls.__qualname__:
            raise ValueError(f"two detectors are called {kind!r}")
        _REGISTER[kind] = cls
        return cls

    return add


def detectors() -> dict[str, type[Detector]]:
    """Every detector in this folder by its name, sorted."""
    package = importlib.import_module(__package__ or "acoustic_ad.detectors")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_REGISTER.items()))


def detector_class(kind: str) -> type[Detector]:
    """The detector called `kind`; raises UsageError that lists the valid names."""
    found = detectors()
    if kind not in found:
        raise UsageError(f"no detector {kind!r}; there are: {', '.join(found)}")
    return found[kind]


def check_state(state: State, wanted: State) -> None:
    """Raise BundleError unless `state` has the keys, shapes and kinds of number of `wanted`, all finite."""
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or extra:
        raise BundleError(f"weights do not fit the recipe: missing {missing or 'none'}, unexpected {extra or 'none'}")
    for name, value in wanted.items():
        given = state[name]
        if given.shape != value.shape or given.dtype.kind != value.dtype.kind:
            raise BundleError(
                f"weight {name!r} is {given.dtype}{list(given.shape)}, the recipe's {value.dtype}{list(value.shape)}"
            )
        if not np.isfinite(given).all():
            raise BundleError(f"weight {name!r} contains NaN or Inf")


def not_fitted(detector: object) -> NotFittedError:
    """The error of a detector that was asked before it had learnt."""
    return NotFittedError(f"{type(detector).__name__} has learnt nothing yet: call fit or load_state first")

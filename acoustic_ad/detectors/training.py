"""The training loop that the networks share: mini-batches, early stopping on held-out clips, the best weights kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from acoustic_ad.detectors.base import (
    Evidence,
    FloatArray,
    IntArray,
    Options,
    PatchSource,
    Progress,
    ProgressCallback,
    Training,
)
from acoustic_ad.detectors.scoring_batches import scoring_batches
from acoustic_ad.errors import TrainingError

SCORING_BATCH = 4096
# Patches, of an hour of sound or nine: an epoch of more is longer than a training, and its order alone takes memory
# that grows with the clips.
MOST_SHUFFLED = 1_000_000


class HeldOut(NamedTuple):
    """A loss over held-out patches; both NaN where none are held out."""

    loss: float = math.nan  # mean
    spread: float = math.nan  # standard deviation


class TrainingOptions(Options):
    """How a network learns. Steps, not epochs, bound the work: 20 clips need as many as 200."""

    steps: int = Field(1500, ge=1)
    batch_size: int = Field(512, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    check_every_steps: int = Field(100, ge=1)
    patience_checks: int = Field(5, ge=1)  # checks without a better held-out loss before training ends


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of torch from one seed; the caller's state is given back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def reproducible(seed: int) -> Iterator[np.random.Generator]:
    """As `seeded`, with numbers of numpy and deterministic kernels: to learn by.

    Not to make a network whose weights are then loaded: torch answers with its whole compiler, a second of imports.
    """
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    with seeded(seed):
        torch.use_deterministic_algorithms(True)
        try:
            yield np.random.default_rng(seed)
        finally:
            torch.use_deterministic_algorithms(was_deterministic)


def to_tensor(patches: FloatArray) -> Tensor:
    """A contiguous float32 tensor of the patches, which may be a view that is not to be written to."""
    return torch.from_numpy(np.require(patches, np.float32, ["C", "W"]))


def evidence_by(module: nn.Module, patches: FloatArray, batch_size: int = SCORING_BATCH) -> Evidence:
    """Evidence for patches [N, frames, mels] by a detector's `module`, so many patches at a time."""
    parts = []
    with torch.inference_mode():
        for batch, count in scoring_batches(patches, batch_size):
            parts.append([found[:count] for found in module(torch.from_numpy(batch))])
    columns = zip(*parts, strict=True)
    return Evidence(*((column[0] if len(column) == 1 else torch.cat(column)).numpy() for column in columns))


def batches(rng: np.random.Generator, count: int, batch_size: int) -> Iterator[IntArray]:
    """Shuffled index arrays without end, every patch once an epoch; where there are very many, drawn one by one."""
    size = min(batch_size, count)
    while count > MOST_SHUFFLED:
        yield rng.integers(count, size=size)
    while True:
        order = rng.permutation(count)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


def minimise(
    network: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    held_out_loss: Callable[[], HeldOut] | None,
    patches: PatchSource,
    options: TrainingOptions,
    rng: np.random.Generator,
    *,
    steps: int | None = None,
    progress: ProgressCallback | None = None,
) -> Training:
    """Train `network` in place by Adam with a cosine decay, and leave the weights of the best held-out loss in it.

    `loss_of(batch)` is the training loss of a batch [n, frames, mels]. Without `held_out_loss` all steps are taken.
    """
    optimiser = torch.optim.Adam(network.parameters(), lr=options.learning_rate)

    def learn(batch: Tensor, step: int) -> Mapping[str, float]:
        loss = loss_of(batch)
        descend(optimiser, loss, options.learning_rate * decay(step, options))
        return {"loss": loss.item()}

    return train(network, learn, held_out_loss, patches, options, rng, steps=steps, progress=progress)


def train(
    network: nn.Module,
    learn: Callable[[Tensor, int], Mapping[str, float]],
    held_out_loss: Callable[[], HeldOut] | None,
    patches: PatchSource,
    options: TrainingOptions,
    rng: np.random.Generator,
    *,
    steps: int | None = None,
    progress: ProgressCallback | None = None,
) -> Training:
    """Call `learn` step by step until the held-out loss no longer falls, and leave the best weights in `network`.

    `learn(batch, step)` takes step number `step` (from 1) on a batch [n, frames, mels] with whatever optimisers it has;
    it returns "loss" and, where the loss has parts, those by name. Without `held_out_loss` all steps are taken.
    Raises TrainingError where the loss is no longer finite.
    """
    last = options.steps if steps is None else steps
    best = _Best(network)
    curve: list[Progress] = []
    taken: list[Mapping[str, float]] = []
    network.train()
    for step, index in zip(range(1, last + 1), batches(rng, len(patches), options.batch_size), strict=False):
        taken.append(learn(to_tensor(patches[index]), step))
        if not math.isfinite(taken[-1]["loss"]):
            raise TrainingError(f"training diverged at step {step}: lower detector.learning_rate")
        if step % options.check_every_steps and step != last:
            continue
        held_out = HeldOut() if held_out_loss is None else best.check(step, held_out_loss)
        means = {name: float(np.mean([losses[name] for losses in taken])) for name in taken[0]}
        curve.append(Progress(step, last, means.pop("loss"), held_out.loss, means, held_out.spread))
        taken.clear()
        if progress is not None:
            progress(curve[-1])
        if best.checks_without_gain >= options.patience_checks:
            break
    if held_out_loss is not None:
        best.restore()
    network.eval()
    return Training(best.step if held_out_loss is not None else last, tuple(curve))


def decay(step: int, options: TrainingOptions) -> float:
    """The share of the learning rate that is left at a step (from 1): half a cosine, from 1 to 0."""
    return 0.5 * (1.0 + math.cos(math.pi * (step - 1) / options.steps))


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, learning_rate: float) -> None:
    """One step of the optimiser down the gradient of `loss`."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


class _Best:
    """The weights with the lowest held-out loss so far."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._loss = math.inf
        self._weights = network.state_dict()
        self.step = 0
        self.checks_without_gain = 0

    def check(self, step: int, held_out_loss: Callable[[], HeldOut]) -> HeldOut:
        """Look at the held-out loss at `step`; keep the weights if it is the lowest so far."""
        self._network.eval()
        found = held_out_loss()
        self._network.train()
        if found.loss < self._loss:
            self._loss, self.step, self.checks_without_gain = found.loss, step, 0
            self._weights = copy.deepcopy(self._network.state_dict())
        else:
            self.checks_without_gain += 1
        return found

    def restore(self) -> None:
        self._network.load_state_dict(self._weights)


def loss_over(
    patches: PatchSource,
    loss_of: Callable[[Tensor], Tensor],
    limit: int = 20_000,
    batch_size: int = SCORING_BATCH,
) -> HeldOut:
    """Mean and standard deviation of a per-patch loss [n] over at most `limit` patches, evenly spread over all."""
    index = np.linspace(0, len(patches) - 1, min(limit, len(patches))).astype(np.int64)
    with torch.inference_mode():
        parts = [loss_of(to_tensor(patches[part])) for part in np.array_split(index, len(index) // batch_size + 1)]
        losses = torch.cat(parts).double()  # sums of thousands of losses lose digits in single precision
        return HeldOut(float(losses.mean()), float(losses.std(correction=0)))

"""Models of the machines of a set, as `train` makes them, but for detectors that several recipes share."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

from sets import Machine, conditions

from acoustic_ad.models.fitting import FittedDetector, fit_detectors
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.models.machine_sound import MachineSound
from acoustic_ad.recipe import Recipe


def groups(recipe: Recipe, machines: Iterable[Machine]) -> list[list[Machine]]:
    """The machines that share a network."""
    found: dict[str, list[Machine]] = {}
    for machine in machines:
        shared = machine.name if recipe.group == "machine" else machine.name.partition("/")[0]
        found.setdefault(shared, []).append(machine)
    return list(found.values())


def fitted(recipe: Recipe, machines: Sequence[Machine]) -> tuple[list[MachineModel], float]:
    """The models of machines that share a network, and the seconds of a processor that it took from log-mels on."""
    planted = [machine.planted(recipe) if recipe.chooses else [] for machine in machines]
    begun = time.process_time()
    sounds = [
        MachineSound.of(recipe, machine.train, machine.sessions, changed, conditions(machine.sounds.train, recipe))
        for machine, changed in zip(machines, planted, strict=True)
    ]
    seconds = time.process_time() - begun
    by_judge = [SHARED.detectors(judge, machines, sounds) for judge in recipe.judges]
    begun = time.process_time()
    found = zip(*(detectors for detectors, _ in by_judge), strict=True)
    models = [MachineModel(recipe).calibrate(*pair) for pair in zip(found, sounds, strict=True)]
    return models, seconds + sum(took for _, took in by_judge) + time.process_time() - begun


class SharedDetectors:
    """Detectors of one seed, which an ensemble shares with its members: fitted once, seconds counted for both."""

    def __init__(self) -> None:
        self._seed = -1
        self._kept: dict[str, tuple[list[FittedDetector], float]] = {}

    def detectors(
        self, judge: Recipe, machines: Sequence[Machine], sounds: Sequence[MachineSound]
    ) -> tuple[list[FittedDetector], float]:
        """One judge's detector for each machine, and the seconds that fitting takes."""
        if judge.seed != self._seed:
            self._seed, self._kept = judge.seed, {}
        clips = [(machine.name, len(machine.train), hash(machine.train[0].tobytes())) for machine in machines]
        others = {"name", "members", "combine", "health"}
        key = repr((judge.model_dump(exclude=others), clips, [len(sound.planted) for sound in sounds]))
        if key not in self._kept:
            begun = time.process_time()
            fits = [fits[0] for fits in fit_detectors(judge, sounds)]
            self._kept[key] = fits, time.process_time() - begun
        return self._kept[key]


SHARED: Final = SharedDetectors()  # of a worker

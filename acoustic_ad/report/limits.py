"""A model's detection limit in words: 'finds a tone from +1.0 dB at 0.4-7.2 kHz; blind at 100 Hz'."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from acoustic_ad.scores.explain import in_hertz

if TYPE_CHECKING:
    from acoustic_ad.models.bundle_facts import DetectionFacts

# Limits are told in steps that people can tell apart.
STEPS_DB = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)


def detection_lines(detection: Iterable[DetectionFacts]) -> list[str]:
    """A sentence on tones over frequency, then a line for each other fault."""
    curves = list(detection)
    tones = [curve for curve in curves if curve.kind == "tone" and curve.low_hz and curve.high_hz]
    lines = [_tones(tones)] if tones else []
    for curve in curves:
        if curve not in tones:
            found = "blind to" if curve.limit_db is None else f"from {_step(curve.limit_db):+.1f} dB:"
            lines.append(f"{found} {curve.words}")
    return lines


def _tones(tones: Sequence[DetectionFacts]) -> str:
    by_step: dict[float | None, list[float]] = {}
    for curve in sorted(tones, key=_centre):
        step = None if curve.limit_db is None else _step(curve.limit_db)
        by_step.setdefault(step, []).append(_centre(curve))
    blind = by_step.pop(None, [])
    told = [f"from {step:+.1f} dB at {_list(by_step[step])}" for step in sorted(by_step, key=lambda step: step or 0.0)]
    parts = [f"finds a tone {', '.join(told)}"] if told else []
    parts += [f"blind to tones at {_list(blind)}"] if blind else []
    return "; ".join(parts)


def _centre(curve: DetectionFacts) -> float:
    return math.sqrt((curve.low_hz or 0.0) * (curve.high_hz or 0.0))


def _step(level_db: float) -> float:
    return next((step for step in STEPS_DB if level_db <= step + 1e-9), level_db)


def _list(frequencies: Sequence[float]) -> str:
    return ", ".join(in_hertz(hz) for hz in frequencies)

"""Parts and spectra of simulated clips, for the tests of their physics."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np

from acoustic_ad.sound.simulate import Session, draw_machine, simulate_parts
from acoustic_ad.sound.simulated_clip import ClipParts

RATE_HZ = 16000


def parts_of(name: str, **options: Any) -> ClipParts:
    settings: dict[str, Any] = {
        "duration_s": 4.0, "sample_rate_hz": RATE_HZ, "snr_db": 6.0, "session": Session("s"),
        "fault": None, "severity": 0.0, "seed": 3,
    }  # fmt: skip
    return simulate_parts(draw_machine(name, 0), **(settings | options))


def power_spectrum(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size))) ** 2
    return np.fft.rfftfreq(samples.size, 1 / RATE_HZ), spectrum


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))

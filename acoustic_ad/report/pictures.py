"""Small pictures and sounds as data URIs: nothing of a page lies outside it."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

# Both keep their order in grey and for colour-blind eyes; the second one has a neutral middle.
LEVEL_COLOURS: Final = "viridis"
EXCESS_COLOURS: Final = "PuOr_r"
MOST_COLUMNS: Final = 192
QUALITY: Final = 60  # of WebP: about 4 kB for a map


def level_range(*maps: Floats) -> tuple[float, float]:
    """The levels in dB between which maps are coloured: all but the quietest 2 % and the loudest 0.2 % of cells."""
    every = np.concatenate([one.ravel() for one in maps])
    low, high = np.quantile(every, (0.02, 0.998)).tolist()
    return float(low), float(max(high, low + 1.0))


def excess_range(excess: Floats) -> float:
    """Excess in dB at which the colours end, on either side of 0: 6 to 24, whole."""
    return float(np.clip(np.ceil(np.quantile(np.abs(excess), 0.995)), 6, 24))


def level_picture(level: Floats, low: float, high: float) -> str:
    """A map [frames, mels] in dB as a data URI: time to the right, frequency upwards."""
    return _picture((columns(level) - low) / (high - low), LEVEL_COLOURS)


def excess_picture(excess: Floats, limit: float) -> str:
    """A map of excess [frames, mels] in dB, orange where louder than normal, violet where quieter."""
    return _picture(columns(excess) / (2 * limit) + 0.5, EXCESS_COLOURS)


def waterfall_picture(excess: Floats, limit: float) -> str:
    """As `excess_picture`, a pixel a day and band [days, bands]; days without a clip (NaN) are transparent."""
    return _picture(excess / (2 * limit) + 0.5, EXCESS_COLOURS, lossless=True)


def columns(level: Floats, most: int = MOST_COLUMNS) -> Floats:
    """The map [frames, mels] with at most so many frames, by averaging neighbours."""
    if len(level) <= most:
        return level
    edges = np.linspace(0, len(level), most + 1).astype(np.intp)
    return np.asarray(np.add.reduceat(level, edges[:-1], axis=0) / np.diff(edges)[:, None])


def colour_stops(name: str, count: int = 9) -> list[str]:
    """The colour map as CSS colours, for a legend."""
    table = _table(name)
    return ["#" + bytes(table[place].tolist()).hex() for place in np.linspace(0, 255, count).astype(int)]


def sound_uri(samples: npt.NDArray[np.float32], sample_rate_hz: int, gain: float) -> str:
    """Mono samples as MP3, which every phone plays, or WAV where this libsndfile writes none."""
    import soundfile

    loud = np.clip(samples * np.float32(gain), -1.0, 1.0)
    file = io.BytesIO()
    if "MP3" in soundfile.available_formats():
        soundfile.write(file, loud, sample_rate_hz, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.7)
        return _uri("audio/mpeg", file.getvalue())
    soundfile.write(file, loud, sample_rate_hz, format="WAV", subtype="PCM_16")
    return _uri("audio/wav", file.getvalue())


def common_gain(sounds: Sequence[npt.NDArray[np.float32]]) -> float:
    """One gain for all: the loudest then peaks at 0.9, and how loud they are beside each other stays."""
    peak = max((float(np.abs(sound).max(initial=0.0)) for sound in sounds), default=0.0)
    return 0.9 / peak if peak > 0 else 1.0


def _picture(share: Floats, colours: str, *, lossless: bool = False) -> str:
    from PIL import Image

    upright = np.flipud(share.T)
    place = np.round(np.clip(np.nan_to_num(upright, nan=0.5), 0.0, 1.0) * 255).astype(np.uint8)
    pixels = _table(colours)[place]
    if np.isnan(upright).any():
        pixels = np.dstack([pixels, np.where(np.isnan(upright), 0, 255).astype(np.uint8)])
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=QUALITY, lossless=lossless)
    return _uri("image/webp", file.getvalue())


@functools.cache
def _table(name: str) -> npt.NDArray[np.uint8]:
    """The colour map as RGB [256, 3]."""
    import matplotlib

    return np.asarray(np.round(matplotlib.colormaps[name](np.arange(256))[:, :3] * 255), np.uint8)


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"

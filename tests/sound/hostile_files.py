"""Broken, unfinished and hostile sound files, made by hand, each with its documented outcome."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable

import numpy as np
import soundfile as sf

# 76 bytes whose LIST entry (0xFFFFFFF8 bytes) sends libsndfile 1.2.2 in circles, as the file found by fuzzing.
HANG_BYTES = bytes.fromhex(
    "524946464400000057415645666d74201000000001000100803e0000007d0000020010004c49535410000000"
    "494e464f58414243f8ffffff6162636464617461080000000000000000000000"
)


def encoded(kind: str = "WAV", subtype: str = "PCM_16", frames: int = 4_000, channels: int = 1) -> bytes:
    samples = np.random.default_rng(3).standard_normal((frames, channels)) * 0.1
    out = io.BytesIO()
    sf.write(out, samples, 16_000, format=kind, subtype=subtype)
    return out.getvalue()


def wav(
    body: bytes = bytes(range(256)) * 8,
    *,
    channels: int = 1,
    rate_hz: int = 16_000,
    data_size: int | None = None,
    riff_size: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A 16-bit WAV by hand, with any lie in its header."""
    fmt = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * channels * 2 & 0xFFFFFFFF, channels * 2 & 0xFFFF, 16)
    data_size = len(body) if data_size is None else data_size
    chunks = b"fmt " + struct.pack("<I", 16) + fmt + before + b"data" + struct.pack("<I", data_size) + body + after
    riff_size = 4 + len(chunks) if riff_size is None else riff_size
    return b"RIFF" + struct.pack("<I", riff_size) + b"WAVE" + chunks


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def float_wav(*values: float) -> bytes:
    samples = np.random.default_rng(3).standard_normal(4_000).astype(np.float32)
    samples[2_000 : 2_000 + len(values)] = values
    out = io.BytesIO()
    sf.write(out, samples, 16_000, format="WAV", subtype="FLOAT")
    return out.getvalue()


def info_list(entry_size: int) -> bytes:
    return b"LIST" + struct.pack("<I", 16) + b"INFOISFT" + struct.pack("<I", entry_size) + b"abcd"


def flac_total(samples: int) -> bytes:
    data = encoded("FLAC")
    return patched(data, 21, bytes([data[21] & 0xF0 | samples >> 32]) + (samples & 0xFFFFFFFF).to_bytes(4, "big"))


def caf_of_open_length() -> bytes:
    data = encoded("CAF")
    return patched(data, data.index(b"data") + 4, b"\xff" * 8)


def mp3_without_frame_count() -> bytes:
    """Loud, then silent: the bit rate of the first frame promises half of the true length."""
    samples = np.random.default_rng(3).standard_normal(320_000) * np.repeat([0.1, 0.0], 160_000)
    out = io.BytesIO()
    sf.write(out, samples, 16_000, format="MP3", subtype="MPEG_LAYER_III")
    data = out.getvalue()
    # The first frame holds the count and no sound; the second starts with the same sync word.
    return data[data.index(data[:2], 10) :]


FULL = 0xFFFFFFFF
SAMPLES = bytes(range(256)) * 8
ID3 = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10)

MATRIX: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty file": (lambda: b"", "empty"),
    "one byte": (lambda: b"R", "unsupported"),
    "text named wav": (lambda: b"Not audio at all.\n" * 40, "unsupported"),
    "png": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(400), "unsupported"),
    "zeros": (lambda: bytes(4_096), "unsupported"),
    "AVI": (lambda: b"RIFF\x00\x10\0\0AVI " + bytes(4_096), "unsupported"),
    "flac named wav": (lambda: encoded("FLAC"), "ok"),
    "hang": (lambda: HANG_BYTES, "bad_header"),
    "hang, LIST behind the samples": (lambda: wav(after=info_list(0xFFFFFFF8)), "bad_header"),
    "LIST entry of 2 GiB": (lambda: wav(before=info_list(0x80000000)), "bad_header"),
    "LIST entry that is right": (lambda: wav(before=info_list(4)), "ok"),
    "LIST entry beyond its chunk": (lambda: wav(before=info_list(400)), "ok"),
    # --- WAV: what is there against what is promised
    "header only": (lambda: wav(b""), "empty"),
    "header only, samples promised": (lambda: wav()[:44], "truncated"),
    "cut in the RIFF head": (lambda: wav()[:10], "truncated"),
    "cut in fmt": (lambda: wav()[:30], "truncated"),
    "cut before data": (lambda: wav()[:36], "truncated"),
    "cut in the samples": (lambda: wav()[:1_000], "truncated"),
    "one byte short": (lambda: wav()[:-1], "truncated"),
    "data size of 2 GiB": (lambda: wav(data_size=0x7FFFFFFF), "truncated"),
    "data size of 4 GiB, RIFF right": (lambda: wav(data_size=FULL), "truncated"),
    "killed arecord": (lambda: wav(data_size=0x80000000, riff_size=0x80000024), "truncated"),
    "killed sox": (lambda: wav(data_size=0x7FFFF000, riff_size=0x7FFFF024), "truncated"),
    "unfinished: sizes 0": (lambda: wav(data_size=0, riff_size=0), "truncated"),
    "unfinished: RIFF 36": (lambda: wav(data_size=0, riff_size=36), "truncated"),
    "unfinished: RIFF 8": (lambda: wav(data_size=0, riff_size=8), "truncated"),
    "written by a pipe": (lambda: wav(data_size=FULL, riff_size=FULL), "ok"),
    "pipe that wrote nothing": (lambda: wav(b"", data_size=FULL, riff_size=FULL), "empty"),
    "RIFF size stale": (lambda: wav(riff_size=36), "ok"),
    "RIFF size of the whole file": (lambda: wav(riff_size=44 + len(SAMPLES)), "ok"),
    "RIFF promises more": (lambda: wav(riff_size=44 + 10_000), "truncated"),
    "no data chunk": (lambda: wav().replace(b"data", b"dada"), "bad_header"),
    "no fmt chunk": (lambda: wav().replace(b"fmt ", b"fmx "), "bad_header"),
    "unknown chunk before": (lambda: wav(before=b"bext\x05\0\0\0abcde\0"), "ok"),
    "unknown chunk beyond the file": (lambda: wav(before=b"bext\xff\xff\xff\x7f"), "bad_header"),
    "junk behind": (lambda: wav() + b"\0\x01garbage" * 9, "ok"),
    "ID3v1 behind": (lambda: wav() + b"TAG" + bytes(125), "ok"),
    "ID3v2 in front": (lambda: ID3 + wav(), "ok"),
    "odd data chunk, no pad byte": (lambda: wav(SAMPLES[:-1]), "ok"),
    "odd data chunk, padded": (lambda: wav(SAMPLES[:-1], after=b"\0"), "ok"),
    "a thousand chunks": (lambda: wav(before=b"JUNK\0\0\0\0" * 1_000), "ok"),
    "empty chunks without end": (lambda: wav(before=b"JUNK\0\0\0\0" * 20_000), "bad_header"),
    # --- absurd formats
    "0 channels": (lambda: wav(channels=0), "bad_channels"),
    "65 channels": (lambda: wav(channels=65), "bad_channels"),
    "65535 channels": (lambda: wav(channels=65_535), "bad_channels"),
    "0 Hz": (lambda: wav(rate_hz=0), "bad_rate"),
    "999 Hz": (lambda: wav(rate_hz=999), "bad_rate"),
    "384001 Hz": (lambda: wav(rate_hz=384_001), "bad_rate"),
    "4 GHz": (lambda: wav(rate_hz=FULL), "bad_rate"),
    "1 kHz": (lambda: wav(rate_hz=1_000), "ok"),
    "384 kHz": (lambda: wav(rate_hz=384_000), "ok"),
    # libsndfile makes no difference between an encoding it does not know and a broken fmt chunk.
    "unknown encoding": (lambda: patched(wav(), 20, b"\x99\x99"), "bad_header"),
    # --- values
    "NaN": (lambda: float_wav(math.nan), "not_finite"),
    "Inf": (lambda: float_wav(math.inf), "not_finite"),
    "-Inf": (lambda: float_wav(-math.inf), "not_finite"),
    "unphysical": (lambda: float_wav(3e38), "not_finite"),
    "one frame": (lambda: wav(b"\1\0"), "constant"),
    # --- other containers
    "RF64": (lambda: encoded("RF64"), "ok"),
    "RF64 cut": (lambda: encoded("RF64")[:-100], "truncated"),
    "W64": (lambda: encoded("W64"), "ok"),
    "W64 cut": (lambda: encoded("W64")[:-100], "truncated"),
    "W64 chunk smaller than its head": (lambda: patched(encoded("W64"), 56, bytes(8)), "bad_header"),
    "RIFX cut": (lambda: b"RIFX" + wav()[4:1_000], "truncated"),
    "AIFF": (lambda: encoded("AIFF"), "ok"),
    "AIFF cut": (lambda: encoded("AIFF")[:-100], "truncated"),
    "AIFF cut in COMM": (lambda: encoded("AIFF")[:25], "truncated"),
    "AIFF of infinite rate": (lambda: patched(encoded("AIFF"), 28, b"\x7f\xff" + bytes(8)), "bad_rate"),
    "AIFF of 0 channels": (lambda: patched(encoded("AIFF"), 20, b"\0\0"), "bad_channels"),
    "AU": (lambda: encoded("AU"), "ok"),
    "AU cut": (lambda: encoded("AU")[:-100], "truncated"),
    "AU of open length": (lambda: patched(encoded("AU"), 8, b"\xff" * 4), "ok"),
    "AU, samples inside the header": (lambda: patched(encoded("AU"), 4, bytes(4)), "bad_header"),
    "CAF": (lambda: encoded("CAF"), "ok"),
    "CAF cut": (lambda: encoded("CAF")[:-100], "truncated"),
    "CAF of open length": (lambda: caf_of_open_length(), "truncated"),
    "FLAC cut": (lambda: encoded("FLAC", frames=100_000)[:-5_000], "truncated"),
    "FLAC cut in its metadata": (lambda: encoded("FLAC")[:30], "truncated"),
    "FLAC of metadata only": (lambda: encoded("FLAC")[:42], "truncated"),
    "FLAC of open length": (lambda: flac_total(0), "ok"),
    "FLAC promises more": (lambda: flac_total(5_000), "truncated"),
    "FLAC promises 2**36": (lambda: flac_total(2**36 - 1), "bad_header"),
    "FLAC damaged inside": (
        lambda: patched(encoded("FLAC", frames=200_000), 60_000, b"\x5a" * 64),
        "decode_error",
    ),
    "FLAC with junk behind": (lambda: encoded("FLAC") + b"junk" * 20, "ok"),
    "OGG cut": (lambda: encoded("OGG", "VORBIS", 50_000)[:-50], "truncated"),
    "OGG cut at half": (lambda: (data := encoded("OGG", "VORBIS", 50_000))[: len(data) // 2], "truncated"),
    "OGG with junk behind": (lambda: encoded("OGG", "VORBIS") + b"junk" * 20, "ok"),
    "MP3 of variable rate without a frame count": (lambda: mp3_without_frame_count(), "decode_error"),
    "MP3 with a frame count, cut": (
        lambda: (data := encoded("MP3", "MPEG_LAYER_III", 100_000))[: len(data) // 2],
        "truncated",
    ),
}


MAGIC_SIZES = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFF8, 0xFFFFFFFE, 0xFFFFFFFF)


def mutated(rng: np.random.Generator, data: bytes) -> bytes:
    """One to four changes, mostly in the header, where they do most harm."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(0, min(len(out), 120) if rng.random() < 0.7 else len(out)))
        match int(rng.integers(0, 6)):
            case 0:
                out[at] = int(rng.integers(0, 256))
            case 1:
                out[at] ^= 1 << int(rng.integers(0, 8))
            case 2 | 3:
                order = "little" if rng.random() < 0.7 else "big"
                out[at : at + 4] = MAGIC_SIZES[rng.integers(len(MAGIC_SIZES))].to_bytes(4, order)  # type: ignore[arg-type]
            case 4:
                out[at:at] = rng.integers(0, 256, rng.integers(1, 20), dtype=np.uint8).tobytes()
            case _:
                del out[at if rng.random() < 0.2 else len(out) - 4 : at + int(rng.integers(1, 9))]
        if not out:
            return b"\0"
    return bytes(out)

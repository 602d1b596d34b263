"""From a sound file to mono samples at the model's rate: checked, streamed, the same for WAV and FLAC.

Whatever is wrong with a file ends in a `ClipError` with one of the documented codes. Files are read forward in blocks
of 262,144 frames at most, so that memory does not grow with the clip, nor with what a header promises. libsndfile
decides by content, never by the name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from acoustic_ad.errors import ClipError
from acoustic_ad.sound.header_facts import HeaderFacts, check_channels, check_rate
from acoustic_ad.sound.headers import check_header, check_open_file
from acoustic_ad.sound.sensor import SensorCheck

__all__ = ["AudioInfo", "SensorCheck", "check_header", "mono_blocks", "probe", "read_clip"]

Samples = NDArray[np.float32]

# A clip of 10 s at 16 kHz is one block. From four channels on a quarter of it, which is 16.8 MB at 64 channels.
_READ_FRAMES: Final = 262_144
# One byte of FLAC or Vorbis silence may stand for thousands of frames, never for more than this.
_MAX_FRAMES_PER_BYTE: Final = 8_192
# Larger samples (a broken float file) overflow in the power spectrum: as useless as NaN.
_MAX_MAGNITUDE: Final = 1e12
# libsndfile's numbers for errors (src/common.h); all others found while opening are a broken header.
_OPEN_CODES: Final = {
    1: "unsupported",
    2: "unreadable",
    4: "unsupported",
    17: "out_of_memory",
    18: "unsupported",
    32: "bad_channels",
    33: "bad_channels",
    34: "bad_channels",
}
_FLAC_LOST_SYNC: Final = 158
_OF_16_BITS: Final = np.float32(2.0**-15)
# ID3v1, APE and lyrics may stand behind the last MP3 frame.
_MAX_MP3_TAG_BYTES: Final = 16_384


@dataclass(frozen=True)
class AudioInfo:
    """What a sound file holds, by its header (`format` and `subtype` are libsndfile's names).

    `open_ended`: the header leaves the length open; `frames` is then what the file's size suggests for 16 bits, and a
    file that was modified a moment ago may still be growing.
    """

    frames: int
    sample_rate_hz: int
    channels: int
    format: str
    subtype: str
    open_ended: bool = False

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate_hz


def probe(path: Path) -> AudioInfo:
    """Open and check a sound file without decoding its samples.

    Raises `ClipError`: `unreadable` (missing, no permission, a folder or device), `empty` (0 bytes or 0 frames),
    `unsupported` (not audio), `bad_header` (impossible sizes), `truncated` (shorter than its header says), `bad_rate`
    (outside 1-384 kHz), `bad_channels` (outside 1-64).
    """
    with _opened(path) as (_, info):
        return info


def mono_blocks(
    path: Path,
    *,
    sample_rate_hz: int,
    channel: int | Literal["mean"] = "mean",
    block_s: float = 30.0,
    sensor: SensorCheck | None = None,
) -> Iterator[Samples]:
    """The samples of a clip as float32 blocks of `block_s` seconds [n] (the last one shorter), full scale +-1.

    The mean over channels or the one chosen (counted from 0), resampled to `sample_rate_hz` (soxr, HQ). The samples do
    not depend on `block_s`. `sensor` sees the raw samples of the channels in use; ask it for `fault()` at the end.

    Raises what `probe` raises and `bad_channels` (no such channel), `not_finite` (NaN, Inf or a magnitude above 1e12),
    `decode_error`, and `truncated` (fewer frames than the header promised). Errors inside the file come when iteration
    gets there: use nothing of a clip before its last block. A truncated MP3 of constant bit rate without a frame count,
    and truncated files whose header leaves the length open, cannot be told from whole ones; an MP3 of variable bit rate
    without a frame count is refused (`truncated` or `decode_error`), as libsndfile only guesses its length.
    Only some files that make the decoder hang are known (`check_header`): decode where a process can be killed.
    """
    if not (sample_rate_hz > 0 and block_s > 0):
        raise ValueError(f"sample_rate_hz ({sample_rate_hz}) and block_s ({block_s}) must be above 0")
    with _opened(path) as (sound, info):
        pieces = _mono_pieces(sound, info, channel, sensor)
        if info.sample_rate_hz != sample_rate_hz:
            pieces = _resampled(pieces, info.sample_rate_hz, sample_rate_hz)
        yield from _rebatched(pieces, max(1, round(block_s * sample_rate_hz)))


def read_clip(
    path: Path,
    *,
    sample_rate_hz: int,
    channel: int | Literal["mean"] = "mean",
    sensor: SensorCheck | None = None,
) -> Samples:
    """The whole clip [n] at once, for short clips; else as `mono_blocks`."""
    blocks = list(mono_blocks(path, sample_rate_hz=sample_rate_hz, channel=channel, sensor=sensor))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


class _ForwardFile(sf.SoundFile):  # type: ignore[misc]
    """Read front to back. soundfile seeks after every read of a seekable file, which upsets lossy decoders."""

    def seekable(self) -> bool:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[tuple[_ForwardFile, AudioInfo]]:
    """The checks and the decoder look at the same open file, whatever happens to its name meanwhile."""
    fd = _open_regular(path)
    try:
        facts = check_open_file(fd)
        with _open_decoder(fd) as sound:
            yield sound, _checked_info(sound, facts, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def _open_regular(path: Path) -> int:
    """Open without waiting for the other end of a FIFO."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise ClipError("unreadable", f"cannot open: {error}") from error
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise ClipError("unreadable", "not a regular file")


def _open_decoder(fd: int) -> _ForwardFile:
    try:
        return _ForwardFile(fd, closefd=False)
    except sf.LibsndfileError as error:
        code = _OPEN_CODES.get(error.code, "bad_header")
        raise ClipError(code, f"libsndfile: {error.error_string}") from error
    except MemoryError as error:
        raise ClipError("out_of_memory", "while the file was opened") from error
    except (sf.SoundFileError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise ClipError("bad_header", f"libsndfile: {error}") from error


def _checked_info(sound: _ForwardFile, facts: HeaderFacts, size: int) -> AudioInfo:
    check_rate(sound.samplerate)
    check_channels(sound.channels)
    frames, open_ended = int(sound.frames), facts.open_ended
    if facts.container == "FLAC" and open_ended:
        # libsndfile then says 2**63 - 1.
        frames = max(1, size // (2 * sound.channels))
    if frames == 0:
        raise ClipError("empty", "0 frames")
    if not 0 < frames <= size * _MAX_FRAMES_PER_BYTE:
        raise ClipError("bad_header", f"the header promises {frames} frames in a file of {size} bytes")
    return AudioInfo(frames, int(sound.samplerate), int(sound.channels), sound.format, sound.subtype, open_ended)


def _mono_pieces(
    sound: _ForwardFile, info: AudioInfo, channel: int | Literal["mean"], sensor: SensorCheck | None
) -> Iterator[Samples]:
    """Mono samples at the file's own rate."""
    if channel != "mean" and not 0 <= channel < info.channels:
        raise ClipError("bad_channels", f"channel {channel} (counted from 0) of {info.channels}")
    chosen = slice(None) if channel == "mean" else slice(channel, channel + 1)
    if sensor is not None:
        sensor.begin(info.channels if channel == "mean" else 1, info.sample_rate_hz, info.subtype)
    position = 0
    for block in _raw_blocks(sound, info):
        mono = _mean(block[:, chosen])
        # A comparison that is false for NaN too; an Inf in any channel stays one in the mean, or becomes NaN.
        low, high = float(mono.min()), float(mono.max())
        if not max(high, -low) < _MAX_MAGNITUDE:
            bad = int(np.argmin(np.abs(mono) < _MAX_MAGNITUDE))
            raise ClipError("not_finite", f"sample {position + bad} is {float(mono[bad])}")
        if sensor is not None:
            sensor.add(block[:, chosen], mono, low, high)
        position += len(mono)
        yield mono


def _raw_blocks(sound: _ForwardFile, info: AudioInfo) -> Iterator[Samples]:
    """Blocks [n, channels], until the header's promise is kept."""
    # By the file alone, so that samples never depend on the block length that a caller asks for.
    most = _READ_FRAMES // min(info.channels, 4)
    kind = np.int16 if info.subtype == "PCM_16" else np.float32
    delivered = 0
    while info.open_ended or delivered < info.frames:
        wanted = most if info.open_ended else min(most, info.frames - delivered)
        block = _read(sound, np.empty((wanted, info.channels), kind), delivered)
        if block.dtype == np.int16:  # as libsndfile does it, to the bit, at a tenth of its time
            block = np.multiply(floats := block.astype(np.float32), _OF_16_BITS, out=floats)
        if len(block) == 0:
            break
        delivered += len(block)
        yield block
    if info.open_ended and delivered == 0:
        raise ClipError("empty", "the decoder delivered no samples")
    if not info.open_ended and delivered < info.frames:
        # The header check has seen the last page of an Ogg file, so what is missing is damage inside.
        code = "decode_error" if info.format == "OGG" else "truncated"
        raise ClipError(code, f"{delivered} of the {info.frames} frames that its header says")
    if info.format == "MP3":
        _check_all_was_read(sound)


def _check_all_was_read(sound: _ForwardFile) -> None:
    """Without a Xing frame libsndfile guesses an MP3's length from the first bit rate, and stops there."""
    position, size = _byte_position(sound)
    if size - position > max(_MAX_MP3_TAG_BYTES, size // 100):
        reason = f"the decoder stopped at byte {position} of {size}: a variable bit rate without a frame count"
        raise ClipError("decode_error", reason)


def _byte_position(sound: _ForwardFile) -> tuple[int, int]:
    """How far the decoder has come in the file, and the file's size."""
    return os.lseek(sound.name, 0, os.SEEK_CUR), os.fstat(sound.name).st_size


def _read(sound: _ForwardFile, buffer: NDArray[Any], position: int) -> NDArray[Any]:
    try:
        block: NDArray[Any] = sound.read(out=buffer)
        return block
    except MemoryError as error:
        raise ClipError("out_of_memory", f"while frame {position} and on were decoded") from error
    except sf.LibsndfileError as error:
        byte, size = _byte_position(sound)
        # At the end of a cut FLAC there is no next frame to synchronise with.
        code = "truncated" if error.code == _FLAC_LOST_SYNC and byte >= size else "decode_error"
        raise ClipError(code, f"at frame {position} or later: {error.error_string}") from error
    except (sf.SoundFileError, RuntimeError, ValueError, TypeError, OverflowError, OSError) as error:
        raise ClipError("decode_error", f"at frame {position} or later: {error}") from error


def _mean(block: Samples) -> Samples:
    """Mean over channels [n, channels] -> [n], summed in double precision and always in the same order."""
    if block.shape[1] == 1:
        return np.ascontiguousarray(block[:, 0])
    with np.errstate(over="ignore", invalid="ignore"):
        total = block[:, 0].astype(np.float64)
        for channel in range(1, block.shape[1]):
            total += block[:, channel]
        total /= block.shape[1]
        return total.astype(np.float32)


def _resampled(pieces: Iterable[Samples], rate_hz: int, wanted_rate_hz: int) -> Iterator[Samples]:
    stream = soxr.ResampleStream(rate_hz, wanted_rate_hz, 1, dtype="float32", quality="HQ")
    for piece in pieces:
        yield stream.resample_chunk(piece)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _rebatched(pieces: Iterable[Samples], length: int) -> Iterator[Samples]:
    """The same samples in blocks of `length`."""
    held: list[Samples] = []
    missing = length
    for piece in pieces:
        start = 0
        while len(piece) - start >= missing:
            held.append(piece[start : start + missing])
            start += missing
            yield _joined(held)
            held, missing = [], length
        if start < len(piece):
            held.append(piece[start:])
            missing -= len(piece) - start
    if held:
        yield _joined(held)


def _joined(pieces: list[Samples]) -> Samples:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

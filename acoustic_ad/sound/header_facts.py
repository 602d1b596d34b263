"""What a sound file's header says, and the checks that are the same for every container."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Final

from acoustic_ad.errors import ClipError

MIN_RATE_HZ: Final = 1_000
MAX_RATE_HZ: Final = 384_000
MAX_CHANNELS: Final = 64

U32_MAX: Final = 0xFFFF_FFFF
# A file of nothing but empty chunks would keep a parser busy for hours.
MAX_CHUNKS: Final = 10_000
# Writers that count the outermost 8-byte head itself, or a pad byte they never wrote, are off by this much.
SIZE_SLACK_BYTES: Final = 9


@dataclass(frozen=True)
class HeaderFacts:
    """What the header says of itself; None where the container is left to libsndfile."""

    container: str | None = None
    sample_rate_hz: float | None = None
    channels: int | None = None
    open_ended: bool = False


class FileBytes:
    """The file as a random-access array of bytes; the position of `fd` does not move."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.size = os.fstat(fd).st_size

    def peek(self, at: int, count: int) -> bytes:
        """Up to `count` bytes from `at`; none where that lies outside the file."""
        return os.pread(self.fd, count, at) if at < self.size else b""

    def take(self, at: int, count: int) -> bytes:
        """Exactly `count` bytes from `at`. Raises `truncated` where the file ends before."""
        data = self.peek(at, count)
        if len(data) < count:
            raise ClipError("truncated", f"the file ends at byte {self.size}, inside a header field at byte {at}")
        return data

    def unpack(self, layout: str, at: int) -> tuple[int, ...]:
        """Integers by `struct` layout. Raises `truncated` where the file ends before."""
        return struct.unpack(layout, self.take(at, struct.calcsize(layout)))

    def name(self, at: int) -> bytes | None:
        """The four-letter name of the chunk at `at`; None at the end of the file and where there is no name."""
        name = self.peek(at, 8)[:4] if at + 8 <= self.size else b""
        return name if len(name) == 4 and all(32 <= byte < 127 for byte in name) else None


def check_rate(sample_rate_hz: float) -> None:
    """Raise `bad_rate` outside 1-384 kHz."""
    if not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ:
        raise ClipError("bad_rate", f"sample rate {sample_rate_hz:g} Hz, not within {MIN_RATE_HZ}-{MAX_RATE_HZ} Hz")


def check_channels(channels: int) -> None:
    """Raise `bad_channels` outside 1-64."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise ClipError("bad_channels", f"{channels} channels, not within 1-{MAX_CHANNELS}")


def check_samples_fit(data: FileBytes, body: int, size: int) -> None:
    """The `size` bytes of samples from byte `body` must lie within the file. Raises `bad_header`, `truncated`."""
    if size < 0:
        raise ClipError("bad_header", f"the header says {size} bytes of samples")
    present = max(data.size - body, 0)
    if size > present:
        raise ClipError("truncated", f"{present} of the {size} bytes of samples that its header says")


def check_described(described: bool, chunk: str) -> None:
    """Samples without the chunk that says what they are cannot be read. Raises `bad_header`."""
    if not described:
        raise ClipError("bad_header", f"no {chunk!r} chunk before the samples")


def no_samples(data: FileBytes, body: int, declared_end: int) -> ClipError:
    """The error for a header that says 0 bytes of samples from byte `body`.

    Where bytes follow that the outermost size does not account for, the recorder has not (or never) finished the file.
    """
    if declared_end <= body < data.size:
        following = data.size - body
        return ClipError("truncated", f"its header says 0 bytes of samples but {following} follow: never finished")
    return ClipError("empty", "its header says 0 bytes of samples")


def no_sample_chunk(data: FileBytes, declared_end: int) -> ClipError:
    """The error for a file without samples: cut off before them, or never had any."""
    if declared_end > data.size + SIZE_SLACK_BYTES:
        return ClipError("truncated", f"{data.size} of {declared_end} bytes, and no samples in them")
    return ClipError("bad_header", f"no chunk of samples in {data.size} bytes")

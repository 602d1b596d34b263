"""Whether a sound file can be what its header says, found out before a decoder sees it.

libsndfile reads a truncated WAV without an error, and loops for ever on some chunk sizes (76 bytes are enough), where
no signal reaches it. So the sizes are compared with the file's own size here, in plain Python and with a few small
reads. What is not parsed here (MP3, NIST, VOC, ...) is left to libsndfile.

Headers that leave the length open, as recorders and pipes write them:
  - RIFF and data size both 0xFFFFFFFF (ffmpeg), data size 0xFFFFFFFF (AU), 0 samples in a FLAC STREAMINFO: read to the
    end of the file. `open_ended` is then True: whether samples are missing cannot be known, and a file that was
    modified a moment ago may still be growing.
  - 0 bytes of samples while bytes follow that the outermost size does not account for (libsndfile, a killed recorder),
    and -1 in CAF, which libsndfile does not read: `truncated`, as the recorder has not finished the file, or never
    will.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from acoustic_ad.errors import ClipError
from acoustic_ad.sound.header_facts import (
    MAX_CHUNKS,
    SIZE_SLACK_BYTES,
    U32_MAX,
    FileBytes,
    HeaderFacts,
    check_channels,
    check_described,
    check_rate,
    check_samples_fit,
    no_sample_chunk,
    no_samples,
)
from acoustic_ad.sound.wave_headers import riff, wave64

_MAX_OGG_PAGE_BYTES: Final = 27 + 255 + 255 * 255


def check_header(path: Path) -> HeaderFacts:
    """Compare the sizes in the header of `path` with the file's size; raises as `check_open_file` does."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise ClipError("unreadable", f"cannot open: {error}") from error
    try:
        return check_open_file(fd)
    finally:
        os.close(fd)


def check_open_file(fd: int) -> HeaderFacts:
    """Check the header of an open file (RIFF, RIFX, RF64, BW64, W64, AIFF, AIFF-C, AU, CAF, FLAC, Ogg).

    Does not move the file's position. Raises `ClipError`: `empty` (no bytes, or no bytes of samples), `truncated` (the
    file ends before its chunks do), `bad_header` (chunks that contradict themselves), `bad_rate` and `bad_channels`
    (outside 1-384 kHz, 1-64), `unreadable` (the disk failed).
    """
    try:
        data = FileBytes(fd)
        if data.size == 0:
            raise ClipError("empty", "the file has 0 bytes")
        start = _after_id3(data)
        parse = _PARSERS.get(data.peek(start, 4))
        facts = parse(data, start) if parse else HeaderFacts()
    except OSError as error:
        raise ClipError("unreadable", f"cannot read the header: {error}") from error
    if facts.sample_rate_hz is not None:
        check_rate(facts.sample_rate_hz)
    if facts.channels is not None:
        check_channels(facts.channels)
    return facts


def _after_id3(data: FileBytes) -> int:
    """Where the container starts: taggers put ID3v2 in front of anything (its size has 7 bits to the byte)."""
    tag = data.peek(0, 10)
    if len(tag) < 10 or tag[:3] != b"ID3":
        return 0
    size = 0
    for byte in tag[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _aiff(data: FileBytes, start: int) -> HeaderFacts:
    (form_size,) = data.unpack(">I", start + 4)
    form_end = start + 8 + form_size
    if data.take(start + 8, 4) not in (b"AIFF", b"AIFC"):
        return HeaderFacts()
    rate, channels, sampled = None, None, False
    at = start + 12
    for _ in range(MAX_CHUNKS):
        if (name := data.name(at)) is None:
            break
        (size,) = data.unpack(">I", at + 4)
        if name == b"COMM":
            (channels,) = data.unpack(">H", at + 8)
            rate = _extended(data.take(at + 16, 10))
        elif name == b"SSND":
            # Eight bytes of offset and block size stand before the samples.
            if size <= 8:
                raise no_samples(data, at + 16, form_end)
            check_samples_fit(data, at + 8, size)
            sampled = True
        at += 8 + size + (size & 1)
    if not sampled:
        raise no_sample_chunk(data, form_end)
    if form_end > data.size + SIZE_SLACK_BYTES:
        raise ClipError("truncated", f"{data.size} of the {form_end} bytes that its FORM header says")
    check_described(rate is not None, "COMM")
    return HeaderFacts("AIFF", rate, channels)


def _extended(raw: bytes) -> float:
    """The 80-bit float of AIFF: sign and 15-bit exponent, then 64 bits with an explicit leading one."""
    exponent = (raw[0] & 0x7F) << 8 | raw[1]
    try:
        value = math.ldexp(int.from_bytes(raw[2:]), exponent - 16383 - 63)
    except OverflowError:
        return math.inf
    return -value if raw[0] & 0x80 else value


def _au(data: FileBytes, start: int) -> HeaderFacts:
    order = ">" if data.take(start, 4) == b".snd" else "<"
    offset, size, _, rate, channels = data.unpack(order + "5I", start + 4)
    body = start + offset
    if offset < 24:
        raise ClipError("bad_header", f"the samples start at byte {offset}, inside the header")
    open_ended = size == U32_MAX and body < data.size
    if not open_ended:
        if size in (0, U32_MAX):
            raise no_samples(data, body, body)
        check_samples_fit(data, body, size)
    return HeaderFacts("AU", rate, channels, open_ended)


def _caf(data: FileBytes, start: int) -> HeaderFacts:
    rate, channels = None, None
    at = start + 8
    for _ in range(MAX_CHUNKS):
        if at + 12 > data.size:
            break
        name = data.take(at, 4)
        (size,) = data.unpack(">q", at + 4)
        body = at + 12
        if name == b"desc":
            (rate,) = struct.unpack(">d", data.take(body, 8))
            (channels,) = data.unpack(">I", body + 24)
        elif name == b"data":
            check_described(rate is not None, "desc")
            # The first four bytes are an edit count.
            if size == -1:
                raise ClipError("truncated", "its data chunk leaves the length open: never finished")
            if size in (0, 4):
                raise no_samples(data, body + 4, data.size)
            check_samples_fit(data, body, size)
            return HeaderFacts("CAF", rate, channels)
        if size < 0:
            raise ClipError("bad_header", f"chunk {name!r} has a size of {size} bytes")
        at = body + size
    # CAF has no outermost size; but it ends with samples, or was cut off before.
    raise ClipError("truncated", f"no chunk of samples in {data.size} bytes")


def _flac(data: FileBytes, start: int) -> HeaderFacts:
    (kind,) = data.take(start + 4, 1)
    if kind & 0x7F != 0:
        raise ClipError("bad_header", f"the first FLAC block is of type {kind & 0x7F}, not STREAMINFO")
    # STREAMINFO: 10 bytes of block and frame sizes; then 20 bits rate, 3 channels - 1, 5 depth - 1, 36 samples.
    packed = int.from_bytes(data.take(start + 18, 8))
    rate, channels, samples = packed >> 44, (packed >> 41 & 7) + 1, packed & 0xF_FFFF_FFFF
    at, last = start + 4, False
    while not last:
        head = data.take(at, 4)
        last = bool(head[0] & 0x80)
        at += 4 + int.from_bytes(head[1:])
    if at >= data.size:
        if samples == 0:
            raise no_samples(data, at, at)
        raise ClipError("truncated", f"the file ends at byte {data.size}, its metadata at {at}")
    return HeaderFacts("FLAC", rate, channels, open_ended=samples == 0)


def _ogg(data: FileBytes, start: int) -> HeaderFacts:
    """Ogg has no total size, but its last page must be whole, and marked as the last (flag 4)."""
    tail_at = max(start, data.size - _MAX_OGG_PAGE_BYTES)
    tail = data.peek(tail_at, data.size - tail_at)
    page = tail.rfind(b"OggS")
    if page < 0:
        return HeaderFacts("OGG")
    head = tail[page : page + 27]
    table = tail[page + 27 : page + 27 + head[26]] if len(head) == 27 else b""
    if len(head) < 27 or len(table) < head[26] or page + 27 + len(table) + sum(table) > len(tail):
        raise ClipError("truncated", f"the file ends inside the Ogg page at byte {tail_at + page}")
    if not head[5] & 4:
        raise ClipError("truncated", f"the last Ogg page (byte {tail_at + page}) is not marked as the stream's end")
    return HeaderFacts("OGG")


_PARSERS: Final[dict[bytes, Callable[[FileBytes, int], HeaderFacts]]] = {
    b"RIFF": riff,
    b"RIFX": riff,
    b"RF64": riff,
    b"BW64": riff,
    b"riff": wave64,
    b"FORM": _aiff,
    b".snd": _au,
    b"dns.": _au,
    b"caff": _caf,
    b"fLaC": _flac,
    b"OggS": _ogg,
}

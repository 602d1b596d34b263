"""The headers of the WAV family: RIFF, RIFX (big-endian), RF64 and BW64 (64-bit sizes), and Sony Wave64."""

from __future__ import annotations

from acoustic_ad.errors import ClipError
from acoustic_ad.sound.header_facts import (
    MAX_CHUNKS,
    SIZE_SLACK_BYTES,
    U32_MAX,
    FileBytes,
    HeaderFacts,
    check_described,
    check_samples_fit,
    no_sample_chunk,
    no_samples,
)


def riff(data: FileBytes, start: int) -> HeaderFacts:
    """WAV from byte `start`; a RIFF that is no WAVE is left to libsndfile."""
    magic = data.take(start, 4)
    order = ">" if magic == b"RIFX" else "<"
    (riff_size,) = data.unpack(order + "I", start + 4)
    if data.take(start + 8, 4) != b"WAVE":
        return HeaderFacts()
    wide_size: int | None = None
    rate, channels = None, None
    at = start + 12
    for _ in range(MAX_CHUNKS):
        if (name := data.name(at)) is None:
            break
        (size,) = data.unpack(order + "I", at + 4)
        body = at + 8
        if name == b"data":
            check_described(rate is not None, "fmt")
            if wide_size is not None and size == U32_MAX:
                size = wide_size
            facts = HeaderFacts("WAV", rate, channels, open_ended=size == riff_size == U32_MAX)
            _check_data(data, order, body, size, start + 8 + riff_size)
            return facts
        if name == b"ds64" and magic in (b"RF64", b"BW64"):
            wide_riff, wide_size = data.unpack("<QQ", body)
            riff_size = wide_riff if riff_size == U32_MAX else riff_size
        elif name == b"fmt ":
            channels, rate = data.unpack(order + "HI", body + 2)
        elif name == b"LIST":
            _check_list(data, order, body, size)
        at = body + size + (size & 1)
    raise no_sample_chunk(data, start + 8 + riff_size)


def _check_data(data: FileBytes, order: str, body: int, size: int, riff_end: int) -> None:
    """Judge the data chunk and what follows it."""
    unlimited = riff_end >= U32_MAX and size in (0, U32_MAX)
    if size == U32_MAX and unlimited and body < data.size:
        return
    if size == 0 or (size == U32_MAX and unlimited):
        # Where samples follow and no chunk, the size was never filled in, whatever RIFF says.
        raise no_samples(data, body, body if unlimited or data.name(body) is None else riff_end)
    check_samples_fit(data, body, size)
    if riff_end > data.size + SIZE_SLACK_BYTES:
        raise ClipError("truncated", f"{data.size} of the {riff_end} bytes that its RIFF header says")
    _check_trailing_lists(data, order, body + size + (size & 1))


def _check_trailing_lists(data: FileBytes, order: str, at: int) -> None:
    """libsndfile reads on behind the samples. Junk is allowed there; what makes it loop is not."""
    for _ in range(MAX_CHUNKS):
        if (name := data.name(at)) is None:
            return
        (size,) = data.unpack(order + "I", at + 4)
        if name == b"LIST":
            _check_list(data, order, at + 8, size)
        at += 8 + size + (size & 1)


def _check_list(data: FileBytes, order: str, at: int, size: int) -> None:
    """Refuse the entries that send libsndfile backwards.

    It adds an entry's size to a 32-bit position: 0xFFFFFFF8 and the 8-byte head make 0, and the same entry is read for
    ever. No text in a LIST has 2 GiB, so every size that is negative as a 32-bit number is refused.
    """
    end = min(at + size, data.size)
    for _ in range(MAX_CHUNKS):
        if at + 8 > end:
            return
        name = data.take(at, 4)
        if name in (b"INFO", b"adtl", b"exif"):
            at += 4
            continue
        (part,) = data.unpack(order + "I", at + 4)
        if part >= 0x8000_0000:
            raise ClipError("bad_header", f"an entry of {part} bytes in a LIST chunk of {size}")
        at += 8 + part + (part & 1)


def wave64(data: FileBytes, start: int) -> HeaderFacts:
    """Wave64: GUIDs for names (the first four bytes are letters), sizes that include the 24-byte head, 8-byte steps."""
    (total,) = data.unpack("<Q", start + 16)
    rate, channels = None, None
    at = start + 40
    for _ in range(MAX_CHUNKS):
        if (name := data.name(at)) is None:
            break
        (size,) = data.unpack("<Q", at + 16)
        body = at + 24
        if name == b"data":
            check_described(rate is not None, "fmt")
            if size <= 24:
                raise no_samples(data, body, start + total)
            check_samples_fit(data, body, size - 24)
            return HeaderFacts("W64", rate, channels)
        if size < 24:
            raise ClipError("bad_header", f"a chunk of {size} bytes, less than its own head of 24")
        if name == b"fmt ":
            channels, rate = data.unpack("<HI", body + 2)
        at += (size + 7) // 8 * 8
    raise no_sample_chunk(data, start + total)

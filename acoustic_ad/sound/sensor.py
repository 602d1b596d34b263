"""Signs of a broken microphone, converter or recorder that need no reference: silent, constant, clipped, stuck.

They are judged on the raw samples, channel by channel, before mixing and resampling blur them. Level relative to the
machine's own training is not judged here, see `presence`: a real machine may be recorded at an RMS of 0.0004 (13 steps
of 16 bits). Of training, only the number of channels that were alive can be asked after.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from acoustic_ad.errors import ClipError

Samples = NDArray[np.float32]

# Shares of a channel's samples. Loud real motors that touch full scale stay below 0.0002 by this measure.
CLIPPED_SHARE: Final = 0.01
CLIPPED_RUN: Final = 3
STUCK_SHARE: Final = 0.20
STUCK_RUN_S: Final = 0.050
# A run counts as stuck only if the sound in the 5 ms around it moved by more steps than quantised quiet does.
_EDGE_S: Final = 0.005
_QUIET_STEPS: Final = 4

_PCM_BITS: Final = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_LOSSLESS_FLOAT: Final = ("FLOAT", "DOUBLE")
# Companding ends below 1.0: 32124 and 32256 of 32768.
_FULL_SCALE: Final = {"PCM_S8": 0.992, "PCM_U8": 0.992, "ULAW": 0.980, "ALAW": 0.984}
# The smallest A-law codes are +-8 of 32768; it has no zero.
_ZERO: Final = {"ALAW": 2.0**-12}


class SensorCheck:
    """The verdict on one clip, gathered block by block: hand it to `mono_blocks`, then ask for `fault()`.

    Silent and constant channels are taken for unconnected inputs as long as another channel is alive. Fails to see a
    stuck value where the machine is as quiet as four quantisation steps, and noise from a broken cable.
    """

    def __init__(self) -> None:
        self._channels: list[_ChannelTally] = []
        self._mix_alive = False
        self._frames = 0

    def begin(self, channels: int, sample_rate_hz: int, subtype: str) -> None:
        """Start a new clip of `channels` that are judged, with libsndfile's name of the encoding."""
        self._channels = [_ChannelTally(sample_rate_hz, subtype) for _ in range(channels)]
        self._mix_alive = False
        self._frames = 0

    def add(self, block: Samples, mono: Samples, low: float, high: float) -> None:
        """Take in the raw samples [n, channels] in their file's order, and what is made of them [n], low..high."""
        self._frames += len(block)
        self._mix_alive = self._mix_alive or low != 0.0 or high != 0.0
        if len(self._channels) == 1:
            self._channels[0].add(mono, low, high)
            return
        for channel, tally in enumerate(self._channels):
            samples = np.ascontiguousarray(block[:, channel])
            tally.add(samples, float(samples.min()), float(samples.max()))

    @property
    def alive(self) -> int:
        """Channels that moved."""
        return sum(not tally.constant for tally in self._channels)

    def fault(self, channels: int = 0) -> ClipError | None:
        """The first that applies of `silent`, `constant`, `clipped`, `stuck`, `missing_channel`; None: a sound sensor.

        `channels` were alive in every clip of the training: fewer than that, in a file that has a dead one, is a fault.
        """
        if self._frames == 0:
            return None
        alive = [tally for tally in self._channels if not tally.constant]
        if not alive:
            if all(tally.zero for tally in self._channels):
                return ClipError("silent", f"all {self._frames} samples are 0")
            value = next(tally.first for tally in self._channels if not tally.zero)
            return ClipError("constant", f"all {self._frames} samples are {value:g}")
        if all(tally.zero for tally in alive) or not self._mix_alive:
            return ClipError("silent", f"the channels make {self._frames} samples of 0")
        clipped = max(tally.clipped for tally in alive) / self._frames
        if clipped > CLIPPED_SHARE:
            return ClipError("clipped", f"{clipped:.1%} of the samples at full scale (limit {CLIPPED_SHARE:.0%})")
        stuck = max(tally.stuck_total() for tally in alive) / self._frames
        if stuck > STUCK_SHARE:
            return ClipError("stuck", f"{stuck:.1%} of the samples repeat one value (limit {STUCK_SHARE:.0%})")
        if len(alive) < min(channels, len(self._channels)):
            return ClipError(
                "missing_channel", f"{len(alive)} of {len(self._channels)} channels alive, {channels} before"
            )
        return None


class _ChannelTally:
    """Counts over one channel; a run of equal values may go on over any number of blocks."""

    def __init__(self, sample_rate_hz: int, subtype: str) -> None:
        self.first = 0.0
        self.constant = True
        self.zero = True
        self.clipped = 0
        self._stuck = 0
        self._started = False
        self._full_scale = _FULL_SCALE.get(subtype, 0.999)
        self._float = subtype in _LOSSLESS_FLOAT
        self._companded = subtype in ("ULAW", "ALAW")
        self._zero_level = _ZERO.get(subtype, 0.0)
        self._step = 2.0 ** (1 - min(_PCM_BITS.get(subtype, 12 if self._companded else 16), 16))
        self._long = max(int(STUCK_RUN_S * sample_rate_hz), 3)
        self._edge = max(int(_EDGE_S * sample_rate_hz), 2)
        # The samples before the next block, and the run that may go on into it.
        self._tail: Samples = np.zeros(0, np.float32)
        self._end: Samples | None = None  # of a block without long runs: not counted unless another block follows
        self._run_value = 0.0
        self._run_length = 0
        self._run_swing: float | None = None

    def add(self, samples: Samples, low: float, high: float) -> None:
        """Take in the next samples [n] of the channel, and the least and the largest of them."""
        if not self._started:
            self.first, self._started = float(samples[0]), True
        peak = max(high, -low)
        self.constant = self.constant and low == high == self.first
        self.zero = self.zero and peak <= self._zero_level
        if peak >= self._full_scale:
            self.clipped += self._count_clipped(samples)
        if self._end is not None:
            self._count_end(self._end)
        if len(samples) <= 2 * self._long or self._may_hold_long_run(samples):
            self._count_runs(samples)
            return
        # No run inside is long; what is left are those over the block's two borders, if there is a block beyond.
        if self._run_length:
            self._count_runs(samples[: self._long])
        self._end = samples[-self._long - self._edge :].copy()

    def _count_end(self, end: Samples) -> None:
        """Take up the runs at the end of the block before, of which none was long."""
        self._end, self._run_length, self._tail = None, 0, end[: self._edge]
        self._count_runs(end[self._edge :])

    def stuck_total(self) -> int:
        """Samples in stuck runs, the one at the end of the clip included."""
        if self._end is not None:
            return self._stuck
        open_run = self._run_length if self._is_stuck(self._run_length, self._run_value, self._run_swing, None) else 0
        return self._stuck + open_run

    def _count_clipped(self, samples: Samples) -> int:
        """Samples within runs of three or more at one rail (a run over a block border may lose two).

        Float files have no rail: values may exceed 1.0. There only repeated values count.
        """
        inside = np.zeros(len(samples), bool)
        for rail in (samples >= self._full_scale, samples <= -self._full_scale):
            if self._float:
                rail[1:] &= (samples[1:] == samples[:-1]) | ~rail[:-1]
            three = rail[:-2] & rail[1:-1] & rail[2:]
            for offset in range(CLIPPED_RUN):
                inside[offset : offset + len(three)] |= three
        return int(np.count_nonzero(inside))

    def _may_hold_long_run(self, samples: Samples) -> bool:
        """False only if no run within is long: such a run has eight neighbours in a row on a grid of its eighths."""
        grid = samples[:: self._long // 8]
        equal = grid[1:] == grid[:-1]
        in_a_row = equal[:-6].copy()
        for offset in range(1, 7):
            in_a_row &= equal[offset : len(equal) - 6 + offset]
        return bool(in_a_row.any())

    def _count_runs(self, samples: Samples) -> None:
        starts = np.flatnonzero(np.concatenate(([True], samples[1:] != samples[:-1])))
        lengths = np.diff(np.append(starts, len(samples)))
        padded = np.concatenate((self._tail, samples))
        shift = len(self._tail)
        goes_on = self._run_length > 0 and float(samples[0]) == self._run_value
        if not goes_on and self._run_length >= self._long:
            self._close_run(padded[shift : shift + self._edge])
        if goes_on and len(starts) == 1:
            self._run_length += len(samples)
        else:
            if goes_on:
                self._run_length += int(lengths[0])
                self._close_run(padded[shift + lengths[0] : shift + lengths[0] + self._edge])
            first = 1 if goes_on else 0
            for run in np.flatnonzero(lengths[first:-1] >= self._long) + first:
                self._open_run(padded, shift, int(starts[run]), int(lengths[run]))
                end = shift + int(starts[run] + lengths[run])
                self._close_run(padded[end : end + self._edge])
            self._open_run(padded, shift, int(starts[-1]), int(lengths[-1]))
        self._tail = padded[-self._edge :].copy()

    def _open_run(self, padded: Samples, shift: int, start: int, length: int) -> None:
        at = shift + start
        self._run_value, self._run_length = float(padded[at]), length
        self._run_swing = self._swing(padded[max(at - self._edge, 0) : at], self._run_value)

    def _close_run(self, after: Samples) -> None:
        if self._is_stuck(self._run_length, self._run_value, self._run_swing, self._swing(after, self._run_value)):
            self._stuck += self._run_length

    @staticmethod
    def _swing(around: Samples, value: float) -> float | None:
        return float(np.abs(around - value).max()) if len(around) else None

    def _is_stuck(self, length: int, value: float, before: float | None, after: float | None) -> bool:
        """Whether a run of equal values is a fault and not quiet sound between quantisation steps.

        Sound fades into silence, so 5 ms before a run of quantised quiet nothing is more than a few steps away; what
        follows says nothing (a valve strikes out of silence) unless the clip starts with the run.
        """
        swing = before if before is not None else after
        if length < self._long or swing is None:
            return False
        step = self._step + (abs(value) / 16 if self._companded else 0.0)
        return swing > _QUIET_STEPS * step

"""Waveform -> log-mel frames [frames, mels] in dB -> patches [N, patch_frames, mels]."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from acoustic_ad.errors import ClipError
from acoustic_ad.sound.log_mels import ClipRows, LogMels

if TYPE_CHECKING:  # it takes seconds to import, and the spec and patches do without
    import torch

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# Bumped when the same spec starts to give other numbers, so that a bundle made before is refused, not misread.
FRONT_END_VERSION = 1
POWER_FLOOR = 1e-10  # below the quantisation noise of 16-bit sound
FLOOR_DB = -100.0
BANDS_AT_ONCE = 16
# A third of a clip of 10 s: what is made of so many frames stays in a core's own cache, which workers do not share.
FRAMES_AT_ONCE = 105


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """Everything that decides the value of a log-mel frame. Lengths in samples at `sample_rate_hz`; n_fft is even."""

    sample_rate_hz: int = 16_000
    n_fft: int = 1024
    hop: int = 512
    n_mels: int = 128
    fmin_hz: float = 0.0
    fmax_hz: float = 8_000.0

    @property
    def digest(self) -> str:
        """sha256 over the spec and the front-end's version: equal digests mean equal log-mels."""
        # 0 and 0.0 are one frequency, yet two texts.
        edges = {"fmin_hz": float(self.fmin_hz), "fmax_hz": float(self.fmax_hz)}
        text = json.dumps({"front_end": FRONT_END_VERSION, **asdict(self), **edges}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def band_centres_hz(self) -> npt.NDArray[np.float64]:
        """Centre frequency of each mel band, shape [n_mels], by the HTK formula that the filters are built with."""
        return _band_centres_hz(self.fmin_hz, self.fmax_hz, self.n_mels)

    @property
    def band_edges_hz(self) -> npt.NDArray[np.float64]:
        """Where one band gives way to the next, shape [n_mels + 1]: half-way between centres on the mel scale."""
        low, high = _hz_to_mel(self.fmin_hz), _hz_to_mel(self.fmax_hz)
        edges = low + (np.arange(self.n_mels + 1) + 0.5) * (high - low) / (self.n_mels + 1)
        return np.asarray(700.0 * (10.0 ** (edges / 2595.0) - 1.0))

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop / self.sample_rate_hz


@lru_cache(maxsize=16)
def _band_centres_hz(fmin_hz: float, fmax_hz: float, n_mels: int) -> npt.NDArray[np.float64]:
    edges = np.linspace(_hz_to_mel(fmin_hz), _hz_to_mel(fmax_hz), n_mels + 2)
    centres = np.asarray(700.0 * (10.0 ** (edges[1:-1] / 2595.0) - 1.0))
    centres.flags.writeable = False  # everybody who asks gets the same array
    return centres


def _hz_to_mel(frequency_hz: float) -> float:
    return float(2595.0 * np.log10(1.0 + frequency_hz / 700.0))


def _mel_spectrogram(spec: FeatureSpec) -> Any:
    """torchaudio's transform, also beside a torch that was built for another CUDA.

    torchaudio 2.11 is the last release for a while, and its import refuses every torch whose CUDA differs from its
    own. That guards its compiled kernels; the mel transform is plain torch, so the check is told there is no CUDA.
    The filters are computed in double precision: in single they are off by up to 3e-4 dB.
    """
    import torch

    cuda, dtype = torch.version.cuda, torch.get_default_dtype()
    torch.version.cuda = None
    torch.set_default_dtype(torch.float64)
    try:
        from torchaudio.transforms import MelSpectrogram

        return MelSpectrogram(
            sample_rate=spec.sample_rate_hz,
            n_fft=spec.n_fft,
            hop_length=spec.hop,
            f_min=spec.fmin_hz,
            f_max=spec.fmax_hz,
            n_mels=spec.n_mels,
            power=None,
            center=False,
        ).float()
    finally:
        torch.version.cuda = cuda
        torch.set_default_dtype(dtype)


def filter_groups(filters: FloatArray) -> list[tuple[int, int, FloatArray]]:
    """Mel filters [bins, mels] in groups of 16 bands, each with the span of bins on which they are not all zero.

    So narrow a matrix is multiplied quickest, and most of a filter is zero.
    """
    groups = []
    for start in range(0, filters.shape[1], BANDS_AT_ONCE):
        group = filters[:, start : start + BANDS_AT_ONCE]
        used = np.flatnonzero(group.any(axis=1))
        first, end = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
        groups.append((first, end, np.ascontiguousarray(group[first:end], np.float32)))
    return groups


def in_decibels(power: FloatArray) -> FloatArray:
    """10 log10(max(power, 1e-10)), in the place of the power."""
    np.maximum(power, np.float32(POWER_FLOOR), out=power)
    np.log10(power, out=power)  # in half the time that torch takes
    power *= np.float32(10.0)
    return np.maximum(power, np.float32(FLOOR_DB), out=power)  # the log of the floor is rounded


class FramedLogMel(ABC):
    """The front-end: 10 log10(max(mel power, 1e-10)), HTK mel filters without area normalisation.

    Frames are centred as in librosa and DCASE code: frame k is centred on sample k * hop, with the ends mirrored, so
    n samples give 1 + n // hop frames. The stream is cut where frames allow, so memory does not grow with length.
    Whoever transforms the frames (torch here, numpy in `numpy_log_mel`) brings the mel filters [bins, mels].
    """

    def __init__(self, spec: FeatureSpec, filters: FloatArray) -> None:
        self.spec = spec
        self._filters = filter_groups(filters)

    def __call__(self, waveform: npt.ArrayLike) -> FloatArray:
        """Log-mel [frames, mels] in dB of a whole mono waveform [samples] within -1..1; see `stream`."""
        return np.concatenate(list(self.stream([np.asarray(waveform, dtype=np.float32)])))

    def stream(self, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """Log-mel blocks [k, mels] of a waveform that arrives in blocks [n] of any length.

        Raises ClipError `too_short` where the waveform has no n_fft / 2 + 1 samples to mirror at its ends.
        """
        half, hop = self.spec.n_fft // 2, self.spec.hop
        head = buffer = np.empty(0, np.float32)  # the mirrored beginning, until it is part of a frame; what follows it
        started = False
        for block in blocks:
            # What is there is looked at when more comes: a clip of one block is one piece of work, its end included.
            if started:
                # Hold back what the mirrored end will need; where frames do not touch, the gap before the next as well.
                ready = (len(head) + len(buffer) - half - 1 - max(self.spec.n_fft, hop)) // hop + 1
                if ready > 0:
                    buffer = np.concatenate([head, buffer])
                    yield self._frames(buffer[: (ready - 1) * hop + self.spec.n_fft])
                    head, buffer = head[:0], buffer[ready * hop :]
            buffer = np.concatenate([buffer, block]) if len(buffer) else np.asarray(block)
            if not started and len(buffer) > half:
                head, started = buffer[half:0:-1], True
        if not started:
            raise ClipError(
                "too_short",
                f"{len(buffer)} samples at {self.spec.sample_rate_hz} Hz; the front-end needs more than {half}",
            )
        tail = np.concatenate([head, buffer, buffer[-2 : -half - 2 : -1]])
        if len(tail) >= self.spec.n_fft:
            yield self._frames(tail)

    def _frames(self, samples: FloatArray) -> FloatArray:
        """Log-mel [k, mels] in dB of the frames that begin at every hop-th of the samples [n]."""
        samples = np.ascontiguousarray(samples, np.float32)
        n_fft, step = self.spec.n_fft, FRAMES_AT_ONCE * self.spec.hop
        reach = step - self.spec.hop + n_fft
        starts = range(0, len(samples) - n_fft + 1, step)
        return in_decibels(np.concatenate([self._mel_power(samples[at : at + reach]) for at in starts]))

    def _mel_power(self, samples: FloatArray) -> FloatArray:
        spectrum = self._spectrum(samples)
        # Squares added up: the modulus, with its square root, would cost more than the transform.
        power = np.square(spectrum.real)
        power += np.square(spectrum.imag)
        return np.concatenate([power[:, first:end] @ group for first, end, group in self._filters], axis=1)

    @abstractmethod
    def _spectrum(self, samples: FloatArray) -> npt.NDArray[np.complex64]:
        """The windowed Fourier transform [k, bins] of those frames."""


class LogMel(FramedLogMel):
    """The front-end by torch, which models learn from."""

    def __init__(self, spec: FeatureSpec) -> None:
        self._mel = _mel_spectrogram(spec)
        super().__init__(spec, self.filters.numpy())

    @property
    def window(self) -> torch.Tensor:
        """The window [n_fft] that a frame is weighted with."""
        import torch

        return torch.as_tensor(self._mel.spectrogram.window)

    @property
    def filters(self) -> torch.Tensor:
        """The mel filters [bins, mels] on the power in each bin of a frame's transform."""
        import torch

        return torch.as_tensor(self._mel.mel_scale.fb)

    def _spectrum(self, samples: FloatArray) -> npt.NDArray[np.complex64]:
        import torch

        with torch.inference_mode():
            frames = torch.from_numpy(samples).unfold(0, self.spec.n_fft, self.spec.hop)
            spectrum: npt.NDArray[np.complex64] = torch.fft.rfft(frames * self.window).numpy()
            return spectrum


Prepare = Callable[[FloatArray, IntArray], FloatArray]  # patches [n, frames, mels] and the clip of each [n]


class PatchSet:
    """All patches [N, patch_frames, mels] of several clips, cut when asked for.

    Overlapping patches of 5 frames would take five times the memory of the frames they are cut from, and the frames may
    lie on the disk. `patches[index]` gives the patches at an integer index array, as `prepare` makes them; `clip[i]` is
    the number of the clip that patch i was cut from. `clips` chooses among the log-mels, by number.
    """

    def __init__(
        self,
        log_mels: Sequence[FloatArray],
        patch_frames: int,
        hop_frames: int = 1,
        *,
        clips: IntArray | None = None,
        prepare: Prepare | None = None,
    ) -> None:
        self._log_mels = log_mels if isinstance(log_mels, LogMels) else ClipRows.of(log_mels)
        self._clips = np.arange(len(self._log_mels)) if clips is None else clips
        self._patch_frames, self._hop_frames, self._prepare = patch_frames, hop_frames, prepare
        # Per clip, not per patch: there may be millions of those.
        self._counts = np.maximum((self._log_mels.lengths[self._clips] - patch_frames) // hop_frames + 1, 0)
        self._ends = np.cumsum(self._counts)

    @property
    def clip(self) -> IntArray:
        return np.repeat(np.arange(len(self._clips)), self._counts)

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self), self._patch_frames, self._log_mels.mels

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: IntArray) -> FloatArray:
        number = np.searchsorted(self._ends, index, side="right")
        first = (index - (self._ends - self._counts)[number]) * self._hop_frames
        clip = self._clips[number]
        patches = self._log_mels.patches(clip, first, self._patch_frames)
        return patches if self._prepare is None else self._prepare(patches, clip)


def cut_patches(log_mel: FloatArray, patch_frames: int, hop_frames: int = 1) -> FloatArray:
    """Patches [N, patch_frames, mels] of one clip's log-mel [frames, mels], as a view; N is 0 where it is too short."""
    if len(log_mel) < patch_frames:
        return np.empty((0, patch_frames, log_mel.shape[1]), np.float32)
    frames = np.ascontiguousarray(log_mel)
    count, (frame, band) = (len(frames) - patch_frames) // hop_frames + 1, frames.strides
    # As `sliding_window_view` does it, whose checks take as long as a layer of the network.
    shape, strides = (count, patch_frames, frames.shape[1]), (hop_frames * frame, frame, band)
    return np.ndarray(shape, frames.dtype, frames, strides=strides)

"""Learnt detectors that judge patches without torch: networks by onnxruntime, the Mahalanobis distance by numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.detectors.base import Evidence, FloatArray, State, check_state
from acoustic_ad.detectors.onnx_networks import NETWORKS, network_model
from acoustic_ad.detectors.scoring_batches import scoring_batches
from acoustic_ad.detectors.stages import CONV_SCORING_BATCH, Size
from acoustic_ad.errors import BundleError

DENSE_SCORING_BATCH: Final = 4096
LOG_FATAL: Final = 4  # what it has to say comes as an exception


def detector_without_torch(
    kind: str, options: Mapping[str, Any], patch_shape: Size, state: State
) -> OnnxDetector | NumpyMahalanobis:
    """The learnt detector whose arrays `state` holds; it judges, and that alone.

    Raises BundleError where the arrays do not fit, or where there is no such way to judge for this kind of detector.
    """
    if kind == "mahalanobis":
        return NumpyMahalanobis(state, patch_shape[1])
    if kind not in NETWORKS:
        raise BundleError(f"a detector of kind {kind!r} is judged by torch alone: score with --runtime torch")
    return OnnxDetector(kind, options, patch_shape, state)


class OnnxDetector:
    """A network in onnxruntime, on one thread; made of checked arrays in memory, never of an ONNX file."""

    def __init__(self, kind: str, options: Mapping[str, Any], patch_shape: Size, state: State) -> None:
        self._kind, self._options, self._shape, self._state = kind, options, patch_shape, state
        dense = state and all(np.ndim(value) < 4 for value in state.values())
        self._batch = DENSE_SCORING_BATCH if dense else CONV_SCORING_BATCH
        self._sessions: dict[bool, Any] = {}  # with paper scores or without, made when first asked for

    def evidence(self, patches: FloatArray, paper: bool = True) -> Evidence:
        """As `Detector.evidence`; raises BundleError where the network cannot be made, MemoryError."""
        if paper not in self._sessions:
            self._sessions[paper] = _session(self._model(paper))
        parts = []
        for batch, count in scoring_batches(patches, self._batch):
            parts.append([found[:count] for found in _run(self._sessions[paper], np.ascontiguousarray(batch))])
        found = [np.concatenate(column) for column in zip(*parts, strict=True)]
        score = found.pop(0) if paper else np.full(len(patches), np.nan, np.float32)
        return Evidence(score, *found)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that it was made of."""
        return dict(self._state)

    def _model(self, paper: bool) -> bytes:
        try:
            return network_model(self._kind, self._state, self._shape, self._options, paper)
        except (ValueError, LookupError, ArithmeticError, TypeError) as error:
            raise BundleError(f"the weights of the {self._kind} network do not fit together: {error}") from error


class NumpyMahalanobis:
    """`mahalanobis.Mahalanobis`, learnt: its mean [mels] and precision [mels, mels]."""

    def __init__(self, state: State, mels: int) -> None:
        check_state(state, {"mean": np.zeros(mels), "precision": np.zeros((mels, mels))})
        self._mean, self._precision = state["mean"], state["precision"]

    def evidence(self, patches: FloatArray, paper: bool = True) -> Evidence:
        """As `Detector.evidence`."""
        mean = patches.mean(axis=1, dtype=np.float64)
        residual = mean.astype(np.float32)
        score = np.full(len(mean), np.nan, np.float32)
        if paper:
            deviation = mean - self._mean
            score = ((deviation @ self._precision) * deviation).sum(axis=1).astype(np.float32)
        return Evidence(score, residual, residual)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that it was made of."""
        return {"mean": self._mean, "precision": self._precision}


def _session(model: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BundleError(f"onnxruntime cannot be loaded ({error}): pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Memory that is given back at once: what it would keep for the longest clip adds up over workers and models.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.log_severity_level = LOG_FATAL
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        _refuse_memory(error)
        raise BundleError(f"onnxruntime refuses the network: {error}") from error


def _run(session: Any, x: FloatArray) -> list[FloatArray]:
    try:
        found: list[FloatArray] = session.run(None, {"x": x})
    except Exception as error:  # its errors have no class in common
        _refuse_memory(error)
        raise BundleError(f"onnxruntime cannot run the network: {error}") from error
    return found


def _refuse_memory(error: Exception) -> None:
    if isinstance(error, MemoryError) or "bad_alloc" in str(error) or "llocat" in str(error):
        raise MemoryError(str(error)) from error

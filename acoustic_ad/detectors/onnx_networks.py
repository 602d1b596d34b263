"""Each learnt detector's network as an ONNX model: patches [N, frames, mels] -> score [N], residual [N, mels], latent.

What `Detector.module` and `NetworkDetector.unscored` compute with torch, made of the weights in a bundle alone; the
detectors' contract test holds them together. Without `paper` there is no score, and the outputs are two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.detectors.base import State
from acoustic_ad.detectors.onnx_file import BATCH, OnnxGraph
from acoustic_ad.detectors.onnx_layers import Affine, ConvLayers, dense, folded, frame_mean, layers_of
from acoustic_ad.detectors.stages import Size
from acoustic_ad.errors import BundleError

Array = npt.NDArray[np.float64]
Made = tuple[str, ...]  # names of the outputs
# As in `vae`, which cannot be asked without loading torch; the contract test would show a difference.
LOG_VARIANCE_RANGE: Final = (-8.0, 4.0)
OUTPUT_LOG_VARIANCE_RANGE: Final = (-4.0, 2.0)


# Names of the arrays that a detector keeps.
_ARRAY: Final = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_KEPT: Final = {
    "dae": rf"[01]\.\d+\.{_ARRAY}",
    "vae": rf"output_log_variance|(encoder|decoder)\.(0\.layers\.|layers\.)?\d+\.{_ARRAY}",
    "ganomaly": rf"(encoder|decoder|second_encoder)\.(0\.layers\.|layers\.)?\d+\.{_ARRAY}",
}


def network_model(kind: str, state: State, patch_shape: Size, options: Mapping[str, Any], paper: bool) -> bytes:
    """The ONNX model of a detector of this kind; raises BundleError, and what arrays that do not fit together raise."""
    if strange := sorted(name for name in state if not re.fullmatch(_KEPT[kind], name)):
        raise BundleError(f"arrays that no {kind} network has: {', '.join(map(ascii, strange[:3]))}")
    for name, value in state.items():
        if np.asarray(value).dtype.kind != ("i" if name.endswith("num_batches_tracked") else "f"):
            raise BundleError(f"weight {name!r} is of kind {np.asarray(value).dtype}")
    graph = OnnxGraph(patch_shape)
    *score, residual, latent = NETWORKS[kind](graph, state, patch_shape, options, paper)
    return graph.model({one: [BATCH] for one in score} | {residual: [BATCH, patch_shape[1]], latent: [BATCH, "d"]})


def _dae(graph: OnnxGraph, state: State, patch_shape: Size, options: Mapping[str, Any], paper: bool) -> Made:
    judged = np.ones(patch_shape[0])
    shown = graph.x
    if options.get("predict") == "centre":
        judged[:] = 0.0
        judged[patch_shape[0] // 2] = 1.0
        shown = graph.add("Mul", graph.x, graph.constant((1.0 - judged)[None, :, None]))
    code = dense(graph, graph.add("Flatten", shown, axis=1), folded(layers_of(state, "0")))
    decoder = folded(layers_of(state, "1"))
    if not paper:
        return _dense_residual(graph, code, decoder, judged), code
    residual = graph.add("Sub", graph.x, _as_patches(graph, dense(graph, code, decoder), patch_shape))
    only = graph.add("Mul", residual, graph.constant((judged / judged.mean())[None, :, None]))
    # Frames that are not judged count nothing, in either mean.
    score = graph.add("ReduceMean", graph.add("Mul", only, residual), axes=[1, 2], keepdims=0)
    return score, _frame_mean(graph, only), code


def _vae(graph: OnnxGraph, state: State, patch_shape: Size, options: Mapping[str, Any], paper: bool) -> Made:
    if any(name.startswith("encoder.0.layers.") for name in state):
        conv = ConvLayers(state, patch_shape)
        heads = conv.encoder(graph, graph.x)
        mean, log_variance = _halves(graph, heads, len(state["encoder.1.bias"]))
        restored = conv.decoder(graph, mean)
    else:
        encoder, decoder = folded(layers_of(state, "encoder")), folded(layers_of(state, "decoder"))
        heads = dense(graph, graph.add("Flatten", graph.x, axis=1), encoder)
        mean, log_variance = _halves(graph, heads, len(encoder[-1].bias))
        if not paper:
            return _dense_residual(graph, mean, decoder, np.ones(patch_shape[0])), mean
        restored = _as_patches(graph, dense(graph, mean, decoder), patch_shape)
    residual = graph.add("Sub", graph.x, restored)
    found = _frame_mean(graph, residual), mean
    return (_negative_elbo(graph, residual, mean, log_variance, state, patch_shape), *found) if paper else found


def _negative_elbo(
    graph: OnnxGraph, residual: str, mean: str, log_variance: str, state: State, patch_shape: Size
) -> str:
    """As `vae`'s, with beta 1."""
    square = graph.add("Mul", residual, residual)
    if "output_log_variance" in state:
        log_output = np.clip(np.asarray(state["output_log_variance"], np.float64), *OUTPUT_LOG_VARIANCE_RANGE)
        square = graph.add("Mul", square, graph.constant(np.exp(-log_output)))
        square = graph.add("Add", square, graph.constant(log_output - OUTPUT_LOG_VARIANCE_RANGE[0]))
    error = graph.add("ReduceMean", square, axes=[1, 2], keepdims=0)
    log_variance = graph.add("Clip", log_variance, *(graph.constant(limit) for limit in LOG_VARIANCE_RANGE))
    spread = graph.add("Sub", graph.add("Exp", log_variance), log_variance)
    nats = graph.add("Add", graph.add("Mul", mean, mean), graph.add("Sub", spread, graph.constant(1.0)))
    divergence = graph.add("ReduceSum", nats, graph.constant(np.array([1])), keepdims=0)
    divergence = graph.add("Mul", divergence, graph.constant(0.5 / (patch_shape[0] * patch_shape[1])))
    return graph.add("Add", graph.add("Mul", error, graph.constant(0.5)), divergence)


def _ganomaly(graph: OnnxGraph, state: State, patch_shape: Size, options: Mapping[str, Any], paper: bool) -> Made:
    conv = ConvLayers(state, patch_shape)
    code = conv.encoder(graph, graph.x)
    restored = conv.decoder(graph, code)
    found = _frame_mean(graph, graph.add("Sub", graph.x, restored)), code
    if not paper:
        return found
    apart = graph.add("Sub", code, conv.encoder(graph, restored, "second_encoder"))
    return graph.add("ReduceL2", apart, axes=[1], keepdims=0), *found


NETWORKS: Final[Mapping[str, Callable[[OnnxGraph, State, Size, Mapping[str, Any], bool], Made]]] = {
    "dae": _dae,
    "vae": _vae,
    "ganomaly": _ganomaly,
}


def _dense_residual(graph: OnnxGraph, code: str, decoder: list[Affine], judged: Array) -> str:
    """Mean residual [n, mels] over the `judged` frames, whose last layer gives that mean: a fifth of its work."""
    restored = dense(graph, code, [*decoder[:-1], frame_mean(decoder[-1], judged / judged.sum())])
    heard = graph.x
    if not judged.all():
        heard = graph.add("Mul", heard, graph.constant((judged / judged.mean())[None, :, None]))
    return graph.add("Sub", _frame_mean(graph, heard), restored)


def _frame_mean(graph: OnnxGraph, patches: str) -> str:
    return graph.add("ReduceMean", patches, axes=[1], keepdims=0)


def _as_patches(graph: OnnxGraph, flat: str, patch_shape: Size) -> str:
    return graph.add("Reshape", flat, graph.constant(np.array([-1, *patch_shape])))


def _halves(graph: OnnxGraph, heads: str, width: int) -> tuple[str, str]:
    """Columns [n, width] in two halves."""
    at = [graph.constant(np.array([edge])) for edge in (0, width // 2, width)]
    axis = graph.constant(np.array([1]))
    return graph.add("Slice", heads, at[0], at[1], axis), graph.add("Slice", heads, at[1], at[2], axis)

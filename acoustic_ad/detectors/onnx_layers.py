"""The layers of a detector's network as ONNX operations, read off the names and shapes of its weights.

Every BatchNorm is folded into the layer in front of it, as `folding` does with torch's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.detectors.base import State
from acoustic_ad.detectors.onnx_file import OnnxGraph
from acoustic_ad.detectors.stages import Over, Size, Stage, stages_of
from acoustic_ad.errors import BundleError

Array = npt.NDArray[np.float64]
NORM_EPSILON: Final = 1e-5  # torch's BatchNorm adds it to the variance
LEAK: Final = 0.2  # of the encoder's LeakyReLU


@dataclass(frozen=True, slots=True)
class Affine:
    """A layer's weight, in torch's layout, and its bias [outputs]; `normed`: a BatchNorm stood behind it."""

    weight: Array
    bias: Array
    normed: bool = False


def layers_of(state: State, part: str) -> list[dict[str, Array]]:
    """The arrays of a part's layers, `<part>.<number>.<array>`, in the order of their numbers.

    Raises BundleError where there are none.
    """
    found: dict[int, dict[str, Array]] = {}
    for name, value in state.items():
        number, _, array = name.removeprefix(f"{part}.").partition(".")
        if name.startswith(f"{part}.") and number.isdigit() and "." not in array:
            found.setdefault(int(number), {})[array] = np.asarray(value, np.float64)
    if not found:
        raise BundleError(f"the network has no layers {part!r}")
    return [found[number] for number in sorted(found)]


def folded(layers: list[dict[str, Array]], channels_at: int = 0) -> list[Affine]:
    """Linear and convolutional layers, with the BatchNorms behind them folded in.

    `channels_at`: the axis of a weight that the layer's outputs are on.
    """
    found: list[Affine] = []
    for layer in layers:
        if "running_mean" not in layer:
            found.append(Affine(layer["weight"], layer["bias"]))
            continue
        before = found.pop()
        scale, shift = norm_of(layer)
        # A linear layer in front of a map: all places of a channel are normed alike.
        places = before.weight.shape[channels_at] // len(scale)
        scale, shift = scale.repeat(places), shift.repeat(places)
        shape = [1] * before.weight.ndim
        shape[channels_at] = -1
        found.append(Affine(before.weight * scale.reshape(shape), before.bias * scale + shift, True))
    return found


def norm_of(layer: dict[str, Array]) -> tuple[Array, Array]:
    """A BatchNorm as a factor and a summand [channels]."""
    scale = layer["weight"] / np.sqrt(layer["running_var"] + NORM_EPSILON)
    return scale, layer["bias"] - layer["running_mean"] * scale


def linear(graph: OnnxGraph, x: str, layer: Affine) -> str:
    """Values [n, outputs] of values [n, inputs]."""
    return graph.add("Gemm", x, graph.constant(layer.weight), graph.constant(layer.bias), transB=1)


def dense(graph: OnnxGraph, x: str, layers: list[Affine]) -> str:
    """Linear layers, with a ReLU behind each that a BatchNorm stood behind."""
    for layer in layers:
        x = linear(graph, x, layer)
        if layer.normed:
            x = graph.add("Relu", x)
    return x


def frame_mean(layer: Affine, judged: Array) -> Affine:
    """The layer to [frames * mels] turned into one to the mean [mels] over frames, by weights `judged` [frames]."""
    mels = len(layer.bias) // len(judged)
    weight = np.einsum("f,fmi->mi", judged, layer.weight.reshape(len(judged), mels, -1))
    return Affine(weight, judged @ layer.bias.reshape(len(judged), mels))


class ConvLayers:
    """The convolutional encoder and decoder of patches [n, frames, mels], as in `conv`."""

    def __init__(self, state: State, patch_shape: Size) -> None:
        self._state, self._shape = state, patch_shape
        first = layers_of(state, "encoder.0.layers")[0]["weight"]
        maps = [layer for layer in layers_of(state, "encoder.0.layers") if layer["weight"].ndim == 4]
        # Bands are channels, or else the patch is an image of one channel.
        self._over: Over = "time" if first.shape[1] == patch_shape[1] else "both"
        self._plan = stages_of(patch_shape, first.shape[0], len(maps), self._over)

    def encoder(self, graph: OnnxGraph, x: str, part: str = "encoder") -> str:
        """Values [n, outputs] of patches."""
        frames, mels = self._shape
        if self._over == "both":
            image = graph.add("Reshape", x, graph.constant(np.array([-1, 1, frames, mels])))
        else:
            turned = graph.add("Transpose", x, perm=[0, 2, 1])
            image = graph.add("Reshape", turned, graph.constant(np.array([-1, mels, frames, 1])))
        for stage, layer in zip(self._plan, folded(layers_of(self._state, f"{part}.0.layers")), strict=True):
            image = self._convolution(graph, "Conv", image, layer, stage)
            image = graph.add("LeakyRelu", image, alpha=LEAK)
        (head,) = folded(layers_of(self._head(part), part))
        return linear(graph, graph.add("Flatten", image, axis=1), head)

    def decoder(self, graph: OnnxGraph, code: str) -> str:
        """Patches [n, frames, mels] of codes [n, latent]."""
        (first, norm), *rest = self._decoder_parts()
        top = self._plan[-1]
        (layer,) = folded([first, norm])
        image = linear(graph, code, layer)
        image = graph.add("Reshape", image, graph.constant(np.array([-1, top.outputs, *top.halved])))
        for stage, layers in zip(reversed(self._plan), rest, strict=True):
            (layer,) = folded(layers, channels_at=1)
            image = self._convolution(
                graph, "ConvTranspose", graph.add("Relu", image), layer, stage, output_padding=list(stage.lost)
            )
        frames, mels = self._shape
        if self._over == "both":
            return graph.add("Reshape", image, graph.constant(np.array([-1, frames, mels])))
        turned = graph.add("Reshape", image, graph.constant(np.array([-1, mels, frames])))
        return graph.add("Transpose", turned, perm=[0, 2, 1])

    def _head(self, part: str) -> State:
        """The encoder's last layer alone: its others have longer names."""
        return {name: value for name, value in self._state.items() if name.startswith(f"{part}.1.")}

    def _decoder_parts(self) -> list[list[dict[str, Array]]]:
        """The decoder's layers with a weight, each with the BatchNorm behind it."""
        found: list[list[dict[str, Array]]] = []
        for layer in layers_of(self._state, "decoder.layers"):
            if "running_mean" in layer:
                found[-1].append(layer)
            else:
                found.append([layer])
        return found

    @staticmethod
    def _convolution(graph: OnnxGraph, operation: str, x: str, layer: Affine, stage: Stage, **more: Any) -> str:
        weights = graph.constant(layer.weight), graph.constant(layer.bias)
        pads, strides = [*stage.padding, *stage.padding], list(stage.stride)
        return graph.add(operation, x, *weights, kernel_shape=list(stage.kernel), pads=pads, strides=strides, **more)

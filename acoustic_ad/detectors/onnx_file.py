"""Writes ONNX models, the few kinds of operations that networks here need, without the packages torch and onnx.

An ONNX file is a protocol buffer: fields with a number, each a variable-length integer or a run of bytes with its
length before it (https://protobuf.dev/programming-guides/encoding/; the numbers are those of onnx/onnx.proto). Made
in memory from weights that have been checked, it needs no file that somebody would have to vouch for.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

OPSET: Final = 17
IR_VERSION: Final = 8  # of the same year
BATCH: Final = "n"  # the length of the first axis, which a caller chooses
# ONNX's numbers for kinds of elements and of attributes.
FLOAT, INT64 = 1, 7
KINDS: Final = {np.dtype(np.float32): FLOAT, np.dtype(np.int64): INT64}
ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_INTS = 1, 2, 7


class OnnxGraph:
    """A graph that grows operation by operation; values go by names that it gives them.

    The one input, `x`, is float32 of the given shape, behind a first axis of any length.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self._shape = tuple(shape)
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self.x = "x"

    def constant(self, value: npt.ArrayLike) -> str:
        """A constant: int64 where its elements are whole numbers, else float32."""
        array = np.asarray(value)
        array = np.ascontiguousarray(array, np.int64 if array.dtype.kind == "i" else np.float32)
        name = f"c{len(self._constants)}"
        dimensions = b"".join(_integer(1, length) for length in np.shape(value))
        kind = _integer(2, KINDS[array.dtype])
        self._constants.append(
            dimensions + kind + _text(8, name) + _bytes(9, array.astype(array.dtype.newbyteorder("<")).tobytes())
        )
        return name

    def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """The output of an operation (https://onnx.ai/onnx/operators/) on named values."""
        name = f"v{len(self._nodes)}"
        parts = [_text(1, one) for one in inputs] + [_text(2, name), _text(4, operation)]
        parts += [_bytes(5, _attribute(key, value)) for key, value in attributes.items()]
        self._nodes.append(b"".join(parts))
        return name

    def model(self, outputs: Mapping[str, Sequence[int | str]]) -> bytes:
        """The file whose outputs are these values, in their order, all float32, with the lengths of their axes.

        A text stands for a length that is not known, and equal texts for equal lengths.
        """
        graph = [_bytes(1, node) for node in self._nodes]
        graph.append(_text(2, "network"))
        graph += [_bytes(5, constant) for constant in self._constants]
        graph.append(_bytes(11, _value(self.x, (BATCH, *self._shape))))
        graph += [_bytes(12, _value(name, shape)) for name, shape in outputs.items()]
        opset = _bytes(8, _integer(2, OPSET))
        return _integer(1, IR_VERSION) + _text(2, "acoustic-ad") + _bytes(7, b"".join(graph)) + opset


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    """A named float32 value."""
    sizes = [_text(2, length) if isinstance(length, str) else _integer(1, length) for length in shape]
    tensor = _integer(1, FLOAT) + _bytes(2, b"".join(_bytes(1, size) for size in sizes))
    return _text(1, name) + _bytes(2, _bytes(1, tensor))


def _attribute(name: str, value: float | int | Sequence[int]) -> bytes:
    if isinstance(value, float):
        return _text(1, name) + _tag(2, 5) + struct.pack("<f", value) + _integer(20, ATTRIBUTE_FLOAT)
    if isinstance(value, int):
        return _text(1, name) + _integer(3, value) + _integer(20, ATTRIBUTE_INT)
    return _text(1, name) + b"".join(_integer(8, one) for one in value) + _integer(20, ATTRIBUTE_INTS)


def _integer(field: int, value: int) -> bytes:
    return _tag(field, 0) + _variable(value % 2**64)  # negative ones count down from 2^64


def _bytes(field: int, content: bytes) -> bytes:
    return _tag(field, 2) + _variable(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _tag(field: int, kind: int) -> bytes:
    return _variable(field << 3 | kind)


def _variable(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)

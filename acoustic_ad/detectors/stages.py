"""How convolutional networks halve a patch stage by stage: sizes, strides and kernels, without torch.

Each stage halves as DCGAN does (arXiv 1511.06434: kernel 4, stride 2, no pooling), but leaves alone an axis that is
down to three or fewer, so that short patches work too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# both: the patch is an image, and a pattern means the same in any band. time: bands are channels, each with a meaning
# of its own, as a machine's bands have; a third of the work besides.
Over = Literal["time", "both"]
Size = tuple[int, int]
CONV_SCORING_BATCH = 256  # activations of 256 patches 32x128 take some 20 MB a layer


@dataclass(frozen=True, slots=True)
class Stage:
    """One halving and its inverse: channels and map size before and after."""

    inputs: int
    outputs: int
    size: Size

    @property
    def stride(self) -> Size:
        """2 along every axis that is long enough to halve."""
        return (2 if self.size[0] > 3 else 1, 2 if self.size[1] > 3 else 1)

    @property
    def halved(self) -> Size:
        """The map after this stage."""
        return (self.size[0] // self.stride[0], self.size[1] // self.stride[1])

    @property
    def lost(self) -> Size:
        """What halving drops: the last row of an axis of odd length."""
        return (self.size[0] % self.stride[0], self.size[1] % self.stride[1])

    @property
    def kernel(self) -> Size:
        return (_kernel(self.size[0]), _kernel(self.size[1]))

    @property
    def padding(self) -> Size:
        return (int(self.size[0] > 1), int(self.size[1] > 1))


def _kernel(length: int) -> int:
    if length > 3:
        return 4
    return 3 if length > 1 else 1


def stages_of(patch_shape: Size, width: int, count: int, over: Over) -> list[Stage]:
    """The stages for patches [frames, mels]: `width` channels in each over time, doubled in each over both axes."""
    frames, mels = patch_shape
    stage = Stage(mels, width, (frames, 1)) if over == "time" else Stage(1, width, (frames, mels))
    stages = [stage]
    for _ in range(count - 1):
        stage = Stage(stage.outputs, stage.outputs * (1 if over == "time" else 2), stage.halved)
        stages.append(stage)
    return stages

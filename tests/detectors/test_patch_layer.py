"""The first layer of dense networks: the same numbers by minimal filtering, by frames, and as a plain linear layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from acoustic_ad.detectors.patch_layer import TILE, PatchLayer, minimal_filtering

MELS, HIDDEN = 16, 24


def overlapping(count: int, frames: int, seed: int = 0) -> Tensor:
    """Patches [count, frames, MELS], one frame apart, as views of the frames they share."""
    shared = torch.randn(count + frames - 1, MELS, generator=torch.Generator().manual_seed(seed))
    return shared.as_strided((count, frames, MELS), (MELS, MELS, 1))


def linear(frames: int) -> nn.Linear:
    torch.manual_seed(frames)
    return nn.Linear(frames * MELS, HIDDEN)


@pytest.mark.parametrize("frames", range(1, 10))
@pytest.mark.parametrize("count", [1, 7, 8, 9, 61, 62, 63, 309])
def test_it_is_the_linear_layer(frames: int, count: int) -> None:
    layer, x = linear(frames), overlapping(count, frames)
    shown = torch.ones(frames)
    if frames > 2:
        shown[frames // 2] = 0.0
    with torch.inference_mode():
        seen = (x.contiguous() * shown[:, None]).double().flatten(1)
        wanted = seen @ layer.weight.double().T + layer.bias.double()
        for patches in (x, x.contiguous()):
            assert (PatchLayer(layer, shown)(patches) - wanted).abs().max() < 2e-5


@pytest.mark.parametrize("frames", range(2, 8))
def test_a_tile_gives_several_patches_for_eight_products(frames: int) -> None:
    to_patches, weight_to_points, to_points = (torch.from_numpy(one) for one in minimal_filtering(frames))
    assert to_patches.shape == (TILE - frames + 1, TILE)
    tile, taps = torch.randn(TILE, dtype=torch.float64), torch.randn(frames, dtype=torch.float64)
    found = to_patches @ ((weight_to_points @ taps) * (to_points @ tile))
    wanted = torch.stack([taps @ tile[at : at + frames] for at in range(TILE - frames + 1)])
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_the_work_is_that_of_minimal_filtering(monkeypatch: pytest.MonkeyPatch) -> None:
    """For 100 patches of 5 frames 8 products of 25 rows, where a plain layer has 5 of 100."""
    products: list[torch.Size] = []
    multiply = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda a, b: products.append(a.shape) or multiply(a, b))
    with torch.inference_mode():
        PatchLayer(linear(5), torch.ones(5))(overlapping(100, 5))
    assert products == [(TILE, 25, MELS)]


def test_loud_patches_stay_their_own() -> None:
    """A patch far off does not leak rounding of its own size into the patches of other tiles."""
    layer, x = linear(5), overlapping(64, 5)
    with torch.inference_mode():
        before = PatchLayer(layer, torch.ones(5))(x).clone()
        x[40] += 1e4
        after = PatchLayer(layer, torch.ones(5))(x)
    assert torch.equal(before[:32], after[:32]) and torch.equal(before[48:], after[48:])

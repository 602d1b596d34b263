"""A machine's whole model, waveform in and verdict out, as one torch module and as one ONNX file.

The module is made of the model's own parts and exported as one piece: what torch computes, ONNX computes. The graph is
captured symbolically, so that clips may have any length.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from acoustic_ad.errors import BundleError, NotFittedError, UsageError
from acoustic_ad.models.evidence import STRETCH_FRAMES
from acoustic_ad.models.judge import Judge
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.models.onnx_scorers import scorer_module
from acoustic_ad.models.onnx_statistics import OF_A_FAMILY, FrontEnd, Modulation, counted, family, patches_of, power
from acoustic_ad.sound.features import FeatureSpec

INPUT: Final = "waveform"
OUTPUTS: Final = ("score", "p_value", "bands")
FAMILIES: Final = ("residual", "spectrum")  # whose rows are ranked and spread
OPSET: Final = 20
EXAMPLE_S: Final = 3.0  # of sound, by which the graph is captured: long against a patch, or it is made longer


class MachineModule(nn.Module):
    """Waveform [samples] -> score, p-value and bands [mels] (dB against normal), as `MachineModel.score`.

    `condition` is the operating condition that all clips are taken to be under, of a model that knows some.
    Where a clip is too short for one patch, or not finite, score and p-value are NaN, or the runtime raises its error.
    """

    mean: Tensor
    deviation: Tensor
    calibration: Tensor
    weights: Tensor
    shift: Tensor
    normal_level_db: Tensor

    def __init__(self, model: MachineModel, spec: FeatureSpec, condition: str | None = None) -> None:
        super().__init__()
        if model.calibration is None or not model.judges:
            raise NotFittedError("the model has learnt nothing yet: there is nothing to export")
        if spec.n_mels != model.n_mels:
            raise BundleError(f"the front-end gives {spec.n_mels} mels, the model takes {model.n_mels}")
        self.front_end = FrontEnd(spec)
        self._fewest_frames = max(judge.recipe.features.patch_frames for judge in model.judges)
        self.judges = nn.ModuleList(_JudgeModule(judge) for judge in model.judges)
        found, members = model.combination, len(model.judges)
        mean = np.zeros(members) if found is None else found.mean
        deviation = np.ones(members) if found is None else found.deviation
        scores = model.calibration.scores
        weights = model.conditions.weights(model.calibration.condition, condition)
        shift = model.conditions.corrected(np.zeros((1, spec.n_mels), np.float32), condition)
        arrays = {"mean": mean, "deviation": deviation, "calibration": scores, "shift": shift}
        arrays["weights"] = np.ones(len(scores)) if weights is None else weights
        arrays["normal_level_db"] = model.state()["normal.level_db"]
        for name, value in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.array(value)))

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score [], p-value [] and bands [mels] of a waveform [samples], all float32."""
        log_mel = self.front_end(waveform) + self.shift
        scores = torch.stack([judge(log_mel) for judge in self.judges])
        usable = log_mel.double().sum().isfinite() & (counted(log_mel).max() >= self._fewest_frames - 1)
        # Sums over no patches are 0 in some runtimes, and 0 would be a score.
        score = torch.where(usable, ((scores - self.mean) / self.deviation).mean(), torch.nan)
        beyond = (self.weights * (self.calibration >= score).double()).sum()
        # A score that is no number is beaten by none, and would look like the worst of faults.
        p_value = torch.where(score.isnan(), score, (1.0 + beyond) / (1.0 + self.weights.sum()))
        bands = log_mel.double().mean(dim=0) - self.normal_level_db
        return score.float(), p_value.float(), bands.float()


class _JudgeModule(nn.Module):
    """Log-mel [frames, mels] -> the judge's score."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        fitted, features = judge.fitted, judge.recipe.features
        self.detector, self.scorer = fitted.detector.module(), scorer_module(judge.scorer)
        self.register_buffer("mean", torch.from_numpy(fitted.normaliser.mean.copy()))
        self.register_buffer("deviation", torch.from_numpy(fitted.normaliser.deviation.copy()))
        self.modulation = Modulation(len(fitted.normaliser.mean))
        self._length, self._hop = features.patch_frames, features.patch_hop_frames
        self._remove_level = features.remove_level
        self._statistics = self.scorer.statistics
        known = {"power", "modulation", "latent"} | {_named(rows, one) for rows in FAMILIES for one in OF_A_FAMILY}
        if unknown := set(self._statistics) - known:
            raise UsageError(f"a scorer on {', '.join(sorted(unknown))} cannot be exported")

    def forward(self, log_mel: Tensor) -> Tensor:
        """Log-mel [frames, mels] in dB -> the judge's score."""
        if self._remove_level:
            log_mel = log_mel - log_mel.double().mean().float()
        frames = (log_mel - self.mean) / self.deviation
        patch_scores, residual, latent = self.detector(patches_of(frames, self._length, self._hop))
        found: dict[str, Tensor] = {}
        for rows_of, rows in zip(FAMILIES, (residual, frames), strict=True):
            wanted = [one for one in OF_A_FAMILY if _named(rows_of, one) in self._statistics]
            if wanted:
                found |= {_named(rows_of, one): value for one, value in family(rows, wanted).items()}
        if "power" in self._statistics:
            found["power"] = power(frames)
        if "modulation" in self._statistics:
            found["modulation"] = self.modulation(frames)
        if "latent" in self._statistics:
            found["latent"] = latent.double().mean(dim=0)
        score: Tensor = self.scorer(patch_scores, found)
        return score


def _named(rows: str, statistic: str) -> str:
    return f"{rows}_{statistic}" if statistic else rows


def to_onnx(module: MachineModule, spec: FeatureSpec, patch_frames: int, properties: Mapping[str, str]) -> bytes:
    """The ONNX file of a module: input `waveform` [samples], outputs `score`, `p_value` and `bands` [mels], float32.

    `properties` become its metadata_props. Needs the packages onnx and onnxscript.
    """
    import onnx

    samples = max(round(EXAMPLE_S * spec.sample_rate_hz), (4 * patch_frames + 3) * spec.hop + spec.n_fft)
    example = 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0))
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    proto = program.model_proto
    _forget_the_source(proto)
    onnx.helper.set_model_props(proto, dict(properties))
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def limits(spec: FeatureSpec) -> tuple[str, ...]:
    """What an exported file leaves to its user, or does otherwise than the tool; for people."""
    seconds = STRETCH_FRAMES * spec.hop / spec.sample_rate_hz
    return (
        f"the input is one channel at {spec.sample_rate_hz} Hz, within -1..1: decoding, resampling and the mix of "
        "channels are not in the file",
        f"clips beyond {STRETCH_FRAMES} frames ({seconds:.0f} s) are judged as one piece, which the tool does in "
        "pieces of that length: statistics by rank, modulation and the removal of the level differ there, and memory "
        "grows with the clip",
        "sensor faults (silent, constant, clipped, stuck) are not told: check before",
        "a clip that is not finite or shorter than one patch has the score NaN, or is an error of the runtime",
        "a score within rounding of a calibration score may get the neighbouring p-value",
    )


def _forget_the_source(proto: object) -> None:
    """The exporter notes which lines of which files an operation comes from; that is nobody's business."""
    graph = proto.graph  # type: ignore[attr-defined]
    graph.ClearField("metadata_props")
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints to both streams, warns, and logs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

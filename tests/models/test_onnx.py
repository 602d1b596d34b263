"""The exported file says what the tool says: front-end, statistics, back-ends, ensembles, at any length of clip."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch

from acoustic_ad.errors import NotFittedError, UsageError
from acoustic_ad.models.machine_model import ClipScore, MachineModel
from acoustic_ad.models.onnx_graph import INPUT, OUTPUTS, MachineModule, to_onnx
from acoustic_ad.models.onnx_scorers import BACKEND_MODULES, StatisticalModule, scorer_module
from acoustic_ad.models.onnx_statistics import FrontEnd, Modulation, counted, family, quantile_weights, rank_weights
from acoustic_ad.recipe import Recipe, Statistic, parse_recipe
from acoustic_ad.scores.backends import BACKENDS, cross_fit
from acoustic_ad.scores.clip_score import StatisticalScorer
from acoustic_ad.scores.evidence import EvidenceSum, gwrp
from acoustic_ad.sound.features import FeatureSpec, LogMel

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

FloatArray = npt.NDArray[np.float32]
SPEC = FeatureSpec(sample_rate_hz=8_000, n_fft=256, hop=128, n_mels=18, fmax_hz=4_000.0)
FRONT_END = LogMel(SPEC)
PATCH_FRAMES = 4
TOLERANCE = 1e-4
# In frames: one patch; less than, exactly and a little more than a modulation segment; odd ones; the longest stretch.
FRAMES = (PATCH_FRAMES, 5, 7, 31, 32, 33, 47, 48, 100, 313, 4096)
SMALL = {"steps": 20, "batch_size": 64, "check_every_steps": 10}
DETECTORS: dict[str, dict[str, Any]] = {
    "mahalanobis": {"kind": "mahalanobis"},
    "dae": {"kind": "dae", "hidden": 16, "layers": 2, "latent": 3, **SMALL},
    "idnn": {"kind": "dae", "predict": "centre", "hidden": 16, "layers": 1, "latent": 3, **SMALL},
    "vae": {"kind": "vae", "hidden": 16, "latent": 3, "learn_variance": True, **SMALL},
    "vae_conv": {"kind": "vae", "net": "conv", "over": "both", "width": 4, "latent": 3, **SMALL},
    "ganomaly": {"kind": "ganomaly", "width": 4, "d_width": 4, "latent": 3, **SMALL},
}
EVERYTHING = {"statistics": list(get_args(Statistic))}
SCORERS: dict[str, dict[str, Any]] = {
    "mahalanobis": {"kind": "mahalanobis", **EVERYTHING},
    "dae": {"kind": "gaussian_mixture", **EVERYTHING},
    "idnn": {"kind": "nearest_neighbour", **EVERYTHING},
    "vae": {"kind": "paper", "gwrp_r": 0.9},
    "vae_conv": {"kind": "paper"},
    "ganomaly": {"kind": "mahalanobis", **EVERYTHING},
}


def sound(frames: int, seed: int, gain: float = 0.0) -> FloatArray:
    """A humming, breathing machine, [samples] for so many frames; `gain` adds a tone."""
    rng = np.random.default_rng(seed)
    samples = (frames - 1) * SPEC.hop + int(rng.integers(SPEC.hop))
    time = np.arange(samples) / SPEC.sample_rate_hz
    hum = sum(0.05 / k * np.sin(2 * np.pi * 90 * k * time + rng.uniform(0, 6)) for k in range(1, 9))
    breath = 0.02 * (1.2 + np.sin(2 * np.pi * 2.3 * time)) * rng.standard_normal(samples)
    return np.asarray(hum + breath + gain * np.sin(2 * np.pi * 1700 * time), np.float32)


def tables(name: str, **features: Any) -> dict[str, Any]:
    return {
        "name": name,
        "audio": {"sample_rate_hz": SPEC.sample_rate_hz},
        "features": {
            "n_fft": SPEC.n_fft,
            "hop_s": SPEC.hop / SPEC.sample_rate_hz,
            "n_mels": SPEC.n_mels,
            "fmax_hz": SPEC.fmax_hz,
            "patch_frames": PATCH_FRAMES,
            **features,
        },
        "detector": DETECTORS[name],
        "scorer": SCORERS[name],
    }


def recipe_of(name: str) -> Recipe:
    if name == "level":
        return parse_recipe(tables("dae", remove_level=True, patch_hop_frames=3), "test")
    if name != "ensemble":
        return parse_recipe(tables(name), "test")
    whole = {key: value for key, value in tables("dae").items() if key in ("audio", "features")}
    return parse_recipe({"name": "ensemble", "members": [tables("mahalanobis"), tables("idnn")], **whole}, "test")


@functools.cache
def fitted(name: str) -> MachineModel:
    return MachineModel(recipe_of(name)).fit([FRONT_END(sound(60, seed)) for seed in range(48)])


def exported(model: MachineModel, condition: str | None = None, **properties: str) -> bytes:
    return to_onnx(MachineModule(model, SPEC, condition), SPEC, PATCH_FRAMES, properties)


@functools.cache
def session(name: str) -> Any:
    return onnxruntime.InferenceSession(exported(fitted(name)), providers=["CPUExecutionProvider"])


def check(running: Any, waveform: FloatArray, verdict: ClipScore, scale: float) -> None:
    score, p_value, bands = running.run(list(OUTPUTS), {INPUT: waveform})
    assert abs(float(score) - verdict.score) <= TOLERANCE * max(scale, abs(verdict.score))
    assert float(p_value) == pytest.approx(verdict.p_value, abs=1e-6)
    np.testing.assert_allclose(bands, verdict.bands, atol=1e-3)


@pytest.mark.parametrize("name", [*DETECTORS, "level", "ensemble"])
def test_the_file_scores_as_the_tool_does(name: str) -> None:
    model, scores = fitted(name), []
    assert model.calibration is not None
    for number, frames in enumerate(FRAMES):
        for gain in (0.0, 0.3):
            waveform = sound(frames, seed=100 + number, gain=gain)
            scores.append(model.score(FRONT_END(waveform)))
            check(session(name), waveform, scores[-1], float(np.abs(model.calibration.scores).max()))
    assert len({verdict.score for verdict in scores}) == len(scores), "the clips tell nothing apart"


def test_quiet_bands_beside_a_loud_tone() -> None:
    """Sums of products are not exact: what a loud tone leaves of quiet bands may not move the score."""
    time = np.arange(3 * SPEC.sample_rate_hz) / SPEC.sample_rate_hz
    noise = np.random.default_rng(0).standard_normal(len(time))
    waveform = np.asarray(0.7 * np.sin(2 * np.pi * 440 * time) + 10 ** (-75 / 20) * noise, np.float32)
    check(session("mahalanobis"), waveform, fitted("mahalanobis").score(FRONT_END(waveform)), 1.0)


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        FeatureSpec(),
        FeatureSpec(16_000, 500, 160, 40, 50.0, 7_000.0),
        FeatureSpec(8_000, 64, 96, 8, 0.0, 4_000.0),
    ],
    ids=["small", "default", "odd", "gaps"],
)
def test_the_front_end_is_that_of_the_tool(spec: FeatureSpec) -> None:
    front_end, module = LogMel(spec), FrontEnd(spec)
    for samples in (spec.n_fft // 2 + 1, spec.n_fft, 3 * spec.n_fft + 17):
        waveform = 0.1 * np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
        wanted = front_end(waveform)
        found = module(torch.from_numpy(waveform)).numpy()
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=2e-3)
    silence = module(torch.zeros(4 * spec.n_fft)).numpy()
    np.testing.assert_array_equal(silence, np.float32(-100.0))


def test_nothing_that_a_recipe_may_name_is_missing() -> None:
    assert BACKEND_MODULES.keys() == BACKENDS.keys()
    assert set(EVERYTHING["statistics"]) == set(fitted("mahalanobis").judges[0].scorer.statistics)


@pytest.mark.parametrize("count", [1, 2, 3, 19, 20, 21, 200])
def test_ranks_are_weights(count: int) -> None:
    rows = np.random.default_rng(count).standard_normal((count, 5)).astype(np.float32)
    summed = EvidenceSum(["spectrum", "spectrum_spread", "spectrum_high", "spectrum_gwrp_90", "spectrum_gwrp_50"])
    summed.add(rows[:, 0], rows, rows, rows)
    for name, value in family(torch.from_numpy(rows), ["", "spread", "high", "gwrp_90", "gwrp_50"]).items():
        wanted = summed.clip().statistics[f"spectrum_{name}".rstrip("_")]
        np.testing.assert_allclose(value.numpy(), wanted, rtol=1e-6, atol=1e-6, err_msg=name)
    ranked = torch.from_numpy(-np.sort(-rows[:, 0].astype(np.float64)))
    for r in (1.0, 0.9, 0.5, 0.01):
        assert float(rank_weights(counted(ranked), r) @ ranked) == pytest.approx(float(gwrp(rows[:, 0], r)), abs=1e-9)
    for quantile in (0.0, 0.5, 0.95, 1.0):
        found = float(quantile_weights(counted(ranked), quantile) @ ranked)
        assert found == pytest.approx(float(np.quantile(rows[:, 0].astype(np.float64), quantile)), abs=1e-9)


@pytest.mark.parametrize("frames", [1, 2, 15, 16, 31, 32, 33, 47, 48, 49, 64, 500])
@pytest.mark.parametrize("mels", [3, 4, 18])
def test_modulation_is_that_of_the_evidence(frames: int, mels: int) -> None:
    rows = np.random.default_rng(frames).standard_normal((frames, mels)).astype(np.float32)
    summed = EvidenceSum(["modulation"])
    summed.add(rows[:, 0], rows, rows, rows)
    found = Modulation(mels)(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(found, summed.clip().statistics["modulation"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(BACKENDS))
def test_distances_are_those_of_the_back_ends(kind: Any) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((60, 6)) * np.arange(1, 7) + 5.0 * rng.integers(2, size=(60, 1))
    backend = cross_fit(kind, vectors, np.arange(60) % 5).backend
    module = BACKEND_MODULES[kind](backend.state())
    for vector in (*vectors[:4], vectors[0] + 1e-9, np.full(6, 100.0)):
        found = float(module(torch.from_numpy(vector)))
        assert found == pytest.approx(float(backend.distances(vector[None])[0]), rel=1e-9, abs=1e-6)


def test_unknown_back_ends_and_unfitted_models_are_refused() -> None:
    with pytest.raises(UsageError, match="crystal_ball"):
        StatisticalModule({"residual.crystal_ball.location": np.zeros(3), "residual.crystal_ball.weight": np.ones(1)})
    with pytest.raises(NotFittedError):
        scorer_module(StatisticalScorer([("residual", "mahalanobis")]))
    with pytest.raises(NotFittedError):
        MachineModule(MachineModel(recipe_of("dae")), SPEC)


@pytest.mark.parametrize("name", ["mahalanobis", "vae"])
def test_what_cannot_be_judged_is_no_number_or_an_error(name: str) -> None:
    """Never a plausible score: NaN has no p-value, though it is beaten by none of the calibration."""
    broken = sound(50, seed=1)
    broken[1234] = np.nan
    short = sound(PATCH_FRAMES, seed=2)[: SPEC.hop * (PATCH_FRAMES - 2)]
    for waveform in (broken, short, short[:10], short[:0]):
        try:
            score, p_value, _ = session(name).run(list(OUTPUTS), {INPUT: waveform})
        except Exception as error:  # the runtime has errors of its own
            assert "onnxruntime" in type(error).__module__, error
        else:
            assert np.isnan(score) and np.isnan(p_value)


def test_the_file_names_its_model_and_nothing_of_this_computer() -> None:
    content = exported(fitted("dae"), machine="fan/id_00", sample_rate_hz="8000")
    proto = onnx.load_from_string(content)
    assert {one.key: one.value for one in proto.metadata_props} == {"machine": "fan/id_00", "sample_rate_hz": "8000"}
    assert [one.name for one in proto.graph.input] == [INPUT] and len(proto.functions) == 0
    assert [one.name for one in proto.graph.output] == list(OUTPUTS)
    assert {one.domain for one in proto.opset_import} <= {"", "ai.onnx"}
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param, "the length is fixed"
    for place in (Path(torch.__file__).parent, Path(__file__).parents[2], Path.home()):
        assert str(place).encode() not in content


def test_a_file_is_for_one_operating_condition() -> None:
    recipe = recipe_of("mahalanobis").model_copy(update={"condition": "speed"})
    clips = [sound(60, seed) * (2.0 if seed % 2 else 0.5) for seed in range(40)]
    speeds = ["fast" if seed % 2 else "slow" for seed in range(40)]
    model = MachineModel(recipe).fit([FRONT_END(clip) for clip in clips], conditions=speeds)
    waveform = np.asarray(2.0 * sound(80, seed=99), np.float32)
    scores = []
    for condition in ("fast", "slow", None):
        verdict = model.score(FRONT_END(waveform), condition)
        running = onnxruntime.InferenceSession(exported(model, condition), providers=["CPUExecutionProvider"])
        check(running, waveform, verdict, 1.0)
        scores.append(verdict.score)
    assert len(set(scores)) == 3

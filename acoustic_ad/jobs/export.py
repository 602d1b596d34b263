"""A machine's model as one ONNX file, compared with the tool before it is written."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from acoustic_ad import __version__
from acoustic_ad.errors import AcousticADError, BundleError, UsageError, refusal
from acoustic_ad.jobs.clip_work import feature_spec
from acoustic_ad.models.bundle_info import BundleInfo, sha256
from acoustic_ad.models.registry import Registry
from acoustic_ad.models.signing import Trust
from acoustic_ad.whole_file import whole_file

if TYPE_CHECKING:
    from acoustic_ad.models.machine_model import MachineModel
    from acoustic_ad.sound.features import FeatureSpec

PACKAGES: Final = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE: Final = 1e-4  # of the score's scale


@dataclass(frozen=True, slots=True)
class Exported:
    """An ONNX file that was written."""

    machine: str
    version: str
    digest: str  # of the bundle
    recipe: str
    condition: str | None  # that all clips are taken to be under
    sample_rate_hz: int
    file: str
    bytes: int
    sha256: str
    deviation: float  # largest difference from the tool's score when compared, in units of the score's scale
    limits: tuple[str, ...]  # what the file does not do, for people

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def export(
    machine: str,
    file: Path,
    models: Path,
    version: str | None = None,
    condition: str | None = None,
    trust: Trust | None = None,
) -> Exported:
    """Write the model of a machine, by default its current version, to an ONNX file: waveform in, score out.

    `condition` names the operating condition that the file's clips are under, of a model that knows some. The file
    appears whole or not at all. `trust`: only a model that one of its keys signed. Raises UsageError (no such
    condition), BundleError, AcousticADError (no package, the file differs from the tool or cannot be written).
    """
    _check_packages()
    from acoustic_ad.models.onnx_graph import MachineModule, limits, to_onnx

    model, info = Registry(models, trust).load(machine, version)
    spec = feature_spec(model.recipe)
    _check_fits(machine, model, info, spec, condition)
    said = limits(spec)
    if condition is None and model.conditions.names:
        said = ("clips are judged as of an unknown operating condition; --condition makes a file for one", *said)
    patch_frames = max(judge.recipe.features.patch_frames for judge in model.judges)
    properties = _properties(info, model, condition, said)
    content = to_onnx(MachineModule(model, spec, condition), spec, patch_frames, properties)
    deviation = _deviation(content, model, spec, condition, patch_frames)
    if not deviation <= TOLERANCE:
        raise AcousticADError(f"the ONNX file differs from the tool by {deviation:.2g} of the score: not written")
    try:
        with whole_file(file) as written:
            written.write(content)
    except OSError as error:
        raise AcousticADError(f"{file} cannot be written: {refusal(error)}") from error
    return Exported(
        info.machine,
        info.version,
        info.digest,
        info.recipe.name,
        condition,
        spec.sample_rate_hz,
        str(file),
        len(content),
        sha256(content),
        deviation,
        said,
    )


def _check_packages() -> None:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise AcousticADError(
            f"export needs {', '.join(missing)}: install them with `pip install {' '.join(missing)}`, or all that "
            "export needs with `pip install 'acoustic-ad[onnx]'`"
        )


def _check_fits(machine: str, model: MachineModel, info: BundleInfo, spec: FeatureSpec, condition: str | None) -> None:
    if info.feature_spec is None or info.feature_spec.digest != spec.digest:
        raise BundleError(f"the model of {machine!r} was fitted on features made elsewhere: it takes no waveform")
    if condition is not None and (not model.conditions.names or not model.conditions.knows(condition)):
        known = ", ".join(model.conditions.names) or "none"
        raise UsageError(f"--condition {condition}: the model of {machine!r} knows these conditions: {known}")


def _properties(
    info: BundleInfo, model: MachineModel, condition: str | None, limits: tuple[str, ...]
) -> dict[str, str]:
    typical, limit = model.normal_range()
    found = {
        "machine": info.machine,
        "version": info.version,
        "digest": info.digest,
        "recipe": info.recipe.name,
        "condition": condition or "",
        "sample_rate_hz": str(info.recipe.audio.sample_rate_hz),
        "score_typical": repr(typical),  # median of normal clips
        "score_limit": repr(limit),  # one normal clip in twenty is beyond it
        "calibration": info.calibration.promise,
        "made_by": f"acoustic-ad {__version__}",
        "limits": "; ".join(limits),
    }
    return {name: text.encode("utf-8", "backslashreplace").decode() for name, text in found.items()}


def _deviation(
    content: bytes, model: MachineModel, spec: FeatureSpec, condition: str | None, patch_frames: int
) -> float:
    """The largest difference between the file's score and the tool's, of noise of several lengths."""
    import onnxruntime

    from acoustic_ad.sound.features import LogMel

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    front_end, rng = LogMel(spec), np.random.default_rng(0)
    normal = float(np.abs(model.calibration.scores).max()) if model.calibration else 0.0
    found = []
    for samples in (patch_frames * spec.hop + spec.n_fft, spec.sample_rate_hz + 1, 5 * spec.sample_rate_hz):
        noise = 0.03 * rng.standard_normal(max(samples, patch_frames * spec.hop + spec.n_fft)).astype(np.float32)
        wanted = model.score(front_end(noise), condition).score
        given = float(session.run(["score"], {"waveform": noise})[0])
        found.append(abs(given - wanted) / max(abs(wanted), normal))
    return float(np.max(found))  # NaN where one is: which is no agreement

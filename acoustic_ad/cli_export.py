"""`acoustic-ad export`: a machine's model as one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acoustic_ad.cli_signing import RequireSigned, TrustedKeys, trust_of
from acoustic_ad.console import answer, answer_json, command


@command
def export(
    machine: Annotated[str, typer.Argument(help="The machine's name, as `models list` shows it.")],
    onnx: Annotated[Path, typer.Option("--onnx", help="The file to write.")],
    version: Annotated[str | None, typer.Option("--version", help="Instead of the current one.")] = None,
    condition: Annotated[
        str | None, typer.Option("--condition", help="Operating condition of the clips, where the model knows some.")
    ] = None,
    models: Annotated[
        Path, typer.Option("--models", envvar="ACOUSTIC_AD_MODELS", help="Folder of the model bundles.")
    ] = Path("models"),
    require_signed: RequireSigned = False,
    trust: TrustedKeys = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")] = False,
) -> None:
    """Write a model to one ONNX file: front-end, normaliser, detector and scorer.

    Input `waveform`: float32 [samples], one channel at the model's rate, within -1..1, of any length. Outputs `score`
    and `p_value`, and `bands` [mels] in dB against normal. The file is compared with the tool before it is written.

    Not in the file: decoding, resampling, the mix of channels, checks of the sensor. Clips of more than 4096 frames
    (131 s at the default hop) are judged as one piece, and the tool judges them in pieces of that length: their scores
    may differ. What else is left to its user is answered, and kept in the file's metadata.

    Needs the packages onnx, onnxscript and onnxruntime. Exit codes: 0, 1 no such model, a package is missing or the
    file cannot be written, 2 usage.
    """
    from acoustic_ad.jobs.export import export as write
    from acoustic_ad.sound.clip import one_line

    done = write(machine, onnx, models, version, condition, trust_of(require_signed, trust))
    if as_json:
        answer_json(done.as_json())
        return
    lines = [
        f"file       {one_line(done.file)}, {done.bytes / 1e6:.1f} MB, sha256 {done.sha256}",
        f"model      {one_line(done.machine)}, {done.version}, recipe {done.recipe}, digest {done.digest}",
        f"input      waveform, float32 [samples], mono at {done.sample_rate_hz} Hz",
        f"compared   with the tool: scores differ by {done.deviation:.1g} of their scale",
        *(f"beware     {limit}" for limit in done.limits),
    ]
    answer("\n".join(lines))

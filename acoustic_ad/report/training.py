"""What `train` tells: a row per machine, and who was left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acoustic_ad.report.tables import text_table
from acoustic_ad.sound.clip import one_line

if TYPE_CHECKING:
    from acoustic_ad.jobs.train import TrainReport
    from acoustic_ad.recipe import Recipe


def training_table(report: TrainReport) -> str:
    """One row per machine: version, clips, what its calibration can promise."""
    rows = [
        [
            trained.machine,
            trained.version,
            str(trained.clips),
            str(len(trained.left_out)),
            f"{trained.seconds:.1f} s",
            trained.promise,
        ]
        for trained in report.trained
    ]
    for machine, reason, left_out in report.refused:
        rows.append([machine, "not trained", "-", str(len(left_out)), "-", reason])
    columns = ("machine", "version", "clips", "left out", "took", "calibration")
    lines = [text_table(columns, rows, right=("clips", "left out", "took"))]
    for machine, left_out in _left_out(report):
        lines += [
            f"left out of {machine}: {one_line(clip['clip_id'])}: {clip['code']}: {one_line(clip['reason'])}"
            for clip in left_out
        ]
    return "\n".join(lines)


def training_json(report: TrainReport, recipe: Recipe) -> dict[str, Any]:
    """The document of `train --json`."""
    from acoustic_ad.jobs.train_work import as_json

    return {
        "recognised": report.description,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "machines": [as_json(trained) for trained in report.trained],
        "refused": [
            {"machine": machine, "reason": reason, "left_out": left_out} for machine, reason, left_out in report.refused
        ],
    }


def _left_out(report: TrainReport) -> list[tuple[str, list[dict[str, str]]]]:
    trained = [(one_line(one.machine), one.left_out) for one in report.trained]
    return trained + [(one_line(machine), left_out) for machine, _, left_out in report.refused]

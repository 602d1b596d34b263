"""Tables for people: one row per machine. Plain text where stdout is not a terminal."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from acoustic_ad.sound.clip import one_line

if TYPE_CHECKING:
    from acoustic_ad.jobs.score_report import Failure


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, right: Sequence[str] = ()) -> str:
    """A table as text, with colours where stdout is a terminal; cells are shown as they are, never as markup."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(one_line(cell)) for cell in row))
    terminal = sys.stdout.isatty()
    # A pipe has no width to fit into: give the longest row the room it needs.
    width = shutil.get_terminal_size().columns if terminal else 4096
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width, highlight=False)
    console.print(table)
    output = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in output.splitlines())


def evaluation_table(document: dict[str, Any]) -> str:
    """AUC, pAUC and AP per machine with their means, level-only beside them, from `evaluate --json`'s document."""
    columns = ("machine", "AUC", "95 %", "pAUC", "AP", "level-only AUC", "FPR", "recall", "F1", "normal", "anomaly")
    rows = []
    for machine in document["machines"]:
        if machine["auc"] is None:
            rows.append([machine["machine"], "-", machine["reason"] or "", *["-"] * 8])
            continue
        low, high = machine["auc_ci"]
        at = machine["threshold"]
        rows.append(
            [
                machine["machine"],
                f"{machine['auc']:.3f}",
                f"{low:.3f}-{high:.3f}",
                f"{machine['pauc']:.3f}",
                f"{machine['ap']:.3f}",
                f"{machine['level_only']['auc']:.3f}",
                f"{at['false_positive_rate']:.2f}",
                f"{at['recall']:.2f}",
                f"{at['f1']:.2f}",
                str(machine["n_normal"]),
                str(machine["n_anomaly"]),
            ]
        )
    for name, values in (("mean", document["mean"]), ("harmonic mean", document["hmean"])):
        if values["auc"] is not None:
            rows.append([name, f"{values['auc']:.3f}", "", f"{values['pauc']:.3f}", f"{values['ap']:.3f}", *[""] * 6])
    return text_table(columns, rows, right=columns[1:])


def score_summary(counts: dict[str, int], ignored: dict[str, int]) -> str:
    """One sentence that accounts for every clip found."""
    words = {"already_scored": "already scored", "already_failed": "failed before", "sensor_fault": "sensor fault"}
    parts = [f"{count} {words.get(name, name)}" for name, count in counts.items() if count and name != "found"]
    left = [f"{count} {reason}" for reason, count in ignored.items()]
    nothing_new = "" if counts["scored"] or counts["failed"] else "; nothing new to score"
    return f"{count_of(counts['found'], 'clip')}: {', '.join(parts) or 'none'}{nothing_new}" + (
        f" (ignored: {', '.join(left)})" if left else ""
    )


def failure_lines(failures: Sequence[Failure], together: Collection[str] | None = None) -> list[str]:
    """A line for each clip without a score, with its code and reason, whatever its name is.

    Clips of one machine that share a code of `together` (None: any code) share a line, with the first one's reason.
    """
    groups: dict[tuple[str, str, str], list[Failure]] = {}
    for failure in failures:
        shared = together is None or failure.code in together
        groups.setdefault((failure.machine, failure.code, "" if shared else failure.clip_id), []).append(failure)
    lines = []
    for (machine, code, clip_id), group in groups.items():
        first = group[0]
        if clip_id:
            lines.append(one_line(f"{clip_id}: {code}: {first.reason}"))
            continue
        which = first.clip_id if len(group) == 1 else f"first: {first.clip_id}"
        lines.append(
            one_line(f"{machine}: {count_of(len(group), 'clip')} not scored: {code}: {first.reason} ({which})")
        )
    return lines


def other_model_line(other_model: Mapping[str, int]) -> str:
    """That clips keep the scores of another version of their machines' models, and what to do about it."""
    clips = sum(other_model.values())
    return (
        f"{count_of(clips, 'clip')} of {count_of(len(other_model), 'machine')} ({_some(other_model)}) "
        f"{'keeps its score' if clips == 1 else 'keep their scores'} by another version of the model than the current "
        "one: pass --rescore to score again"
    )


def left_out_line(machines: Sequence[str]) -> str:
    """Which machines could not be rated."""
    return f"the means leave out {_some(machines)}: no clips of both labels were scored"


def _some(machines: Collection[str]) -> str:
    return ", ".join(one_line(machine) for machine in sorted(machines)[:5]) + (", ..." if len(machines) > 5 else "")


def count_of(number: int, noun: str) -> str:
    """'1 clip', '2 clips'."""
    return f"{number} {noun}" + ("" if number == 1 else "s")

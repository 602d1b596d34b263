"""What `acoustic-ad score` says, and which words it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acoustic_ad.console import answer, answer_json, complain, say
from acoustic_ad.console_log import log_is_open

if TYPE_CHECKING:
    from pathlib import Path

    from acoustic_ad.detectors.base import Runtime
    from acoustic_ad.jobs.evaluate import Evaluation
    from acoustic_ad.jobs.score_report import ScoreReport


def check_words(exit_on: str | None, splits: tuple[str, ...]) -> None:
    """Raise UsageError for words of --exit-on and --split that are none."""
    from acoustic_ad.errors import UsageError
    from acoustic_ad.jobs.score_report import EXIT_ON
    from acoustic_ad.sound.clip import SPLITS

    if exit_on is not None and exit_on not in EXIT_ON:
        raise UsageError(f"--exit-on {exit_on}: must be {' or '.join(EXIT_ON)}")
    for name in splits:
        if name not in SPLITS:
            raise UsageError(f"--split {name}: must be one of {', '.join(SPLITS)}")


def begin_runtime(name: str, folder: Path, db: str) -> Runtime:
    """The runtime that --runtime names. The server of its workers begins at once, where there will be work for them.

    Raises UsageError, also where the runtime is not installed.
    """
    from importlib.util import find_spec

    from acoustic_ad.errors import UsageError
    from acoustic_ad.jobs.fork_server import begin_fork_server
    from acoustic_ad.jobs.news import has_news

    if name not in ("torch", "onnx"):
        raise UsageError(f"--runtime {name}: must be torch or onnx")
    runtime: Runtime = "onnx" if name == "onnx" else "torch"
    if runtime == "onnx" and find_spec("onnxruntime") is None:
        raise UsageError("--runtime onnx needs onnxruntime, which is not installed: pip install onnxruntime")
    if has_news(folder, db):
        begin_fork_server(runtime)
    return runtime


def tell_score(report: ScoreReport, as_json: bool) -> None:
    """The answer of a run: failures and remarks on stderr, or in the log; the table or the document on stdout."""
    from acoustic_ad.jobs.score_report import MODEL_CODES
    from acoustic_ad.jobs.score_report import as_json as document
    from acoustic_ad.report.fleet import fleet_table, fleet_words
    from acoustic_ad.report.tables import failure_lines, other_model_line, score_summary
    from acoustic_ad.sound.clip import one_line

    if not log_is_open():  # which has told of each
        for line in failure_lines(report.failures, MODEL_CODES):
            complain(line)
    for line in report.notifications.problems:
        complain(line)
    if as_json:
        answer_json(document(report))
        return
    if not log_is_open():
        say(report.description)
    answer("\n".join([fleet_table(report.fleet), *fleet_words(report.fleet)]))
    if not log_is_open():
        say(score_summary(report.counts, report.ignored))
        for notice in report.notices:
            say(f"note: {one_line(notice.text)}")
    if report.other_model:
        say(other_model_line(report.other_model))


def tell_evaluation(found: Evaluation, told_by: str, as_json: bool) -> None:
    """The answer of `evaluate`: failures and remarks on stderr; the table or the document on stdout.

    `told_by` is the store whose events gave clips a label.
    """
    from acoustic_ad.jobs.evaluate import as_json as document
    from acoustic_ad.report.tables import count_of, evaluation_table, failure_lines, left_out_line

    for line in failure_lines(found.failures):
        complain(line)
    if as_json:
        answer_json(document(found))
        return
    say(f"recipe {', '.join(found.recipes)}, seed {', '.join(map(str, found.seeds))}")
    for label, clips in found.from_events.items():
        say(f"{count_of(clips, 'clip')} without a label taken for {label}, as events in {told_by} tell")
    answer(evaluation_table(document(found)))
    if found.evaluated and found.left_out:
        say(left_out_line(found.left_out))

"""Metrics of a scheduled job for Prometheus: a text file that node_exporter's textfile collector reads.

A file holds what is known of one folder, each series with that folder as a label, so that several jobs may write files
of their own side by side. It is replaced whole, and a run that fails leaves in it what the last good one had found.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from acoustic_ad.errors import AcousticADError, UsageError, refusal
from acoustic_ad.health.policy import State
from acoustic_ad.jobs.score_report import ScoreReport
from acoustic_ad.jobs.store import root_text
from acoustic_ad.whole_file import whole_file

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

SUFFIX: Final = ".prom"  # what node_exporter reads
# Name -> (help, labels beside the folder). A run that fails has only those of RUN to tell.
RUN: Final = {
    "acoustic_ad_last_run_timestamp_seconds": ("When the last run ended.", ()),
    "acoustic_ad_last_run_duration_seconds": ("How long the last run took.", ()),
    "acoustic_ad_last_run_exit_code": ("Exit code of the last run.", ()),
    "acoustic_ad_last_run_success": ("1 where the last run did its work (exit codes 0, 3 and 4), else 0.", ()),
}
FOUND: Final = {
    "acoustic_ad_last_success_timestamp_seconds": ("When the last run ended that did its work.", ()),
    "acoustic_ad_clips": ("Clips that the last successful run found, by what became of them.", ("outcome",)),
    "acoustic_ad_machine_state": ("1 for the state that the machine is in, 0 for the others.", ("machine", "state")),
    "acoustic_ad_machine_index": ("Health index of the machine, 0 to 100.", ("machine",)),
    "acoustic_ad_machine_last_clip_timestamp_seconds": ("When the machine's last clip was recorded.", ("machine",)),
}


class JobMetrics:
    """The metrics of one job, in one file."""

    def __init__(self, path: Path, folder: Path) -> None:
        """Raise UsageError, before anything is done, for a file that could not be written or would not be read."""
        if path.suffix != SUFFIX:
            raise UsageError(f"--metrics {path}: the name must end in {SUFFIX}, or node_exporter does not read it")
        if not path.parent.is_dir():
            raise UsageError(f"--metrics {path}: there is no folder {path.parent}")
        try:
            import prometheus_client  # noqa: F401
        except ImportError as error:
            raise UsageError("--metrics needs prometheus-client: pip install 'acoustic-ad[metrics]'") from error
        self.path, self._root = path, root_text(folder)

    def write(self, report: ScoreReport, duration_s: float) -> None:
        """Tell of a run that did its work. Raises AcousticADError where the file cannot be written."""
        now = time.time()
        found = _run_values(now, duration_s, report.exit_code, True)
        found["acoustic_ad_last_success_timestamp_seconds"] = [((), now)]
        found["acoustic_ad_clips"] = [
            ((name,), float(count)) for name, count in report.counts.items() if name != "found"
        ]
        rows = [machine.row for machine in report.fleet.machines]
        found["acoustic_ad_machine_state"] = [
            ((row.machine, state), float(row.state == state)) for row in rows for state in get_args(State)
        ]
        found["acoustic_ad_machine_index"] = [((row.machine,), row.index) for row in rows if row.index is not None]
        found["acoustic_ad_machine_last_clip_timestamp_seconds"] = [
            ((row.machine,), row.last_clip_at.timestamp()) for row in rows if row.last_clip_at is not None
        ]
        self._replace(self._families(found))

    def write_failure(self, exit_code: int, duration_s: float) -> None:
        """Tell of a run that failed; what the file says of the last good one stays. Raises as `write`."""
        kept = [family for family in self._written() if family.name in FOUND]
        run = self._families(_run_values(time.time(), duration_s, exit_code, False))
        self._replace([*run, *kept])

    def _families(self, values: Mapping[str, Sequence[tuple[tuple[str, ...], float]]]) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        for name, (text, labels) in (RUN | FOUND).items():
            if name in values:
                family = GaugeMetricFamily(name, text, labels=["folder", *labels])
                for own, value in values[name]:
                    family.add_metric([self._root, *own], value)
                yield family

    def _written(self) -> list[Metric]:
        """What the file holds; nothing where there is none, or none that can be read."""
        from prometheus_client.parser import text_string_to_metric_families

        try:
            # Names may hold any line end but "\n", so the text is taken as it is.
            text = self.path.read_bytes().decode("utf-8")
            return list(text_string_to_metric_families(text))
        except (OSError, ValueError, KeyError, IndexError):
            return []

    def _replace(self, families: Iterable[Metric]) -> None:
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(_Told(list(families)))
        try:
            with whole_file(self.path) as file:
                file.write(generate_latest(registry))
        except OSError as error:
            raise AcousticADError(f"{self.path}: the metrics cannot be written: {refusal(error)}") from error


class _Told:
    """Families as a collector of prometheus_client."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        return self._families


def _run_values(
    now: float, duration_s: float, exit_code: int, success: bool
) -> dict[str, Sequence[tuple[tuple[str, ...], float]]]:
    values = (now, duration_s, float(exit_code), float(success))
    return {name: [((), value)] for name, value in zip(RUN, values, strict=True)}

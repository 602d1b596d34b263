"""`acoustic-ad` under watch: how much memory and processor time a run takes, by /proc."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli_process import Finished, cpu_seconds_of, finish, processes_of, start

# A look takes a hundredth of a second. At first it is looked often: a short run ends soon after all is at its largest.
OFTEN_S, SELDOM_S = 0.05, 0.4
OFTEN_FOR_S = 30.0


@dataclass
class Watched:
    """What a run took at the most, in MB."""

    run: Finished
    job_mb: float = 0.0  # all processes together, what they share counted once
    parent_mb: float = 0.0  # the process that was started
    worker_mb: float = 0.0  # the largest of the workers
    job_own_mb: float = 0.0  # likewise, without what is mapped from files
    worker_own_mb: float = 0.0
    cpu_s: float = 0.0
    took_s: float = 0.0

    def look(self, session: int) -> None:
        """Take note of how much it is now."""
        self.cpu_s = max(self.cpu_s, cpu_seconds_of(session))
        together = own = 0.0
        processes = processes_of(session)
        for number in processes:
            with suppress(OSError, KeyError):  # it has ended meanwhile
                sizes = _sizes(number, "smaps_rollup")
                together += sizes["Pss"]
                own += sizes["Pss_Anon"]
                facts = _sizes(number, "status")
                if number == session:
                    self.parent_mb = max(self.parent_mb, facts["VmHWM"])
                elif facts["PPid"] in processes and facts["PPid"] != session:  # a child of the fork server
                    self.worker_mb = max(self.worker_mb, facts["VmHWM"])
                    self.worker_own_mb = max(self.worker_own_mb, facts["RssAnon"])
        self.job_mb = max(self.job_mb, together)
        self.job_own_mb = max(self.job_own_mb, own)

    def __str__(self) -> str:
        memory = f"job {self.job_mb:.0f} MB, parent {self.parent_mb:.0f} MB, worker {self.worker_mb:.0f} MB"
        return f"{memory}, {self.cpu_s:.1f} s of processor time in {self.took_s:.1f} s"


def watched(*arguments: str | Path, code: int | None = 0, timeout: float = 280, **options: Any) -> Watched:
    """As `acoustic_ad`, with an eye on the run."""
    begun = time.monotonic()
    process = start(*arguments, **options)
    seen = Watched(Finished(0, "", ""))
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(finish, process, timeout)
        while not ended.done():
            seen.look(process.pid)
            time.sleep(OFTEN_S if time.monotonic() - begun < OFTEN_FOR_S else SELDOM_S)
        seen.run = ended.result()
    seen.took_s = time.monotonic() - begun
    assert code is None or seen.run.code == code, seen.run
    return seen


def _sizes(process: int, name: str) -> Mapping[str, float]:
    """The numbers of a file in /proc by their names; those in kB as MB."""
    found = {}
    for line in Path(f"/proc/{process}/{name}").read_text().splitlines():
        key, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            found[key] = int(words[0]) / (1000.0 if words[-1] == "kB" else 1.0)
    return found

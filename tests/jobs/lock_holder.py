"""Another process that holds a lock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def another_holder(program: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of Python that runs `program`: it says `held` when it holds the lock, until its stdin is closed."""
    command = [sys.executable, "-c", program, *words]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()

"""The limits that come with the package, so that no first run simulates those of usual machines.

    python benchmarks/usual_limits.py [--write acoustic_ad/health/usual_limits.json]

For the usual policy: 20 to 500 calibration clips of any number of recordings, autocorrelations of -0.3 to 0.83, and 7
to 320 clips a day. Takes about ten minutes on one core; to be run again when `SEARCH_VERSION` or a policy's usual
values change, which `tests/health/test_usual_limits.py` finds out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.progress import track

from acoustic_ad.health import limits as grid
from acoustic_ad.health.limit_text import DIGITS, limits_json
from acoustic_ad.health.policy import Policy
from acoustic_ad.health.search import SEARCH_VERSION, Kind, found_limits

CLIPS: Final = (100, 200, 50, 500, 20)
FISHER: Final = range(-1, 5)  # in the steps of `acoustic_ad.health.limits`
RATES: Final = (2, 1, 0)


def usual_kinds() -> Iterator[Kind]:
    """As `acoustic_ad.health.limits` asks for them."""
    for rate in RATES:
        for clips in CLIPS:
            for sessions in sorted({max(round(clips / length), 1) for length in grid.LENGTHS}):
                for step in FISHER:
                    yield Kind(Policy(), clips, sessions, grid.rho_at(step), grid.rate_at(rate))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    kinds = list(usual_kinds())
    rows = [[list(kind[1:]), limits_json(found_limits(*kind), DIGITS)] for kind in track(kinds, "limits")]
    head = json.dumps({"version": SEARCH_VERSION, "policy": asdict(Policy())})[:-1]
    text = head + ', "found": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]}\n"
    if asked.write is None:
        print(text, end="")
    else:
        asked.write.write_text(text, "utf-8")


if __name__ == "__main__":
    main()

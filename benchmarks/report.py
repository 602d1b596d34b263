"""How long the page takes, and how large it is, from a million stored scores.

    python benchmarks/report.py                                    # 50 machines, 20,000 clips each over 90 days
    python benchmarks/report.py --machines 2000 --browser          # a large fleet, and how quick its page is to use
    python benchmarks/report.py --machines 10 --clips 2000         # in a minute

The store is made here: a model that was fitted on simulated sound, scores as this model would give them on healthy
machines, every eighth machine with a fault in its last days. The clips that the page shows are there as sound of 10 s.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile

from acoustic_ad.jobs.baselines import baseline_of
from acoustic_ad.jobs.fleet_health import refresh
from acoustic_ad.jobs.schema import clip_scores, utc_text
from acoustic_ad.jobs.store import Store, root_text
from acoustic_ad.models.bundle import TrainingDetails
from acoustic_ad.models.machine_model import MachineModel
from acoustic_ad.models.registry import Registry
from acoustic_ad.recipe import parse_recipe
from acoustic_ad.report.page import Page, PageOptions, write_page
from acoustic_ad.sound.features import FeatureSpec, LogMel
from acoustic_ad.sound.simulate import simulate_clip

MILLION: Final = 1_000_000
DAYS: Final = 90
SOUND_OF: Final = "gearbox/id_00"
SHOWN_Z: Final = (6.0, 5.5, 5.0, 0.0)  # of the clips that the page shows: three to listen to, and a usual one
BAND: Final = '[{"hz":3400.0,"low_hz":3200.0,"high_hz":3600.0,"db":9.0,"z":6.0}]'
RECIPE: Final = {"name": "report", "detector": {"kind": "mahalanobis"}, "features": {"patch_frames": 1}}


def main() -> None:
    """Make the store, write its page, tell time and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=50)
    parser.add_argument("--clips", type=int, help="of each machine (default: a million in all)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--browser", action="store_true", help="also time search and filter in Chromium")
    parser.add_argument("--keep", type=Path, help="folder to make the store in, and to leave it; used again if there")
    asked = parser.parse_args()
    clips = asked.clips or MILLION // asked.machines
    with tempfile.TemporaryDirectory() as scratch:
        root = asked.keep or Path(scratch)
        if not (root / "made").exists():
            root.mkdir(exist_ok=True)
            _timed("making the store", lambda: make_store(root, asked.machines, clips))
            (root / "made").touch()
        for audio in (False, True):
            page = _timed(f"page {'with' if audio else 'without'} audio", lambda a=audio: _page(root, asked.workers, a))
            print(f"  {page.machines} machines, {page.details} with details, {page.bytes / 1e6:.2f} MB")
        if asked.browser:
            use(root / "report.html")


def make_store(root: Path, machines: int, clips: int) -> None:
    """A store of `machines` x `clips` scores, its models, and the sound that is shown."""
    front_end, sound = LogMel(FeatureSpec()), root / "sound"
    log_mels = [front_end(simulate_clip(SOUND_OF, duration_s=10.0, seed=number)) for number in range(60)]
    model = MachineModel(parse_recipe(RECIPE, "report")).fit(log_mels, [number // 6 for number in range(60)])
    shown = [simulate_clip(SOUND_OF, duration_s=10.0, seed=900 + number) for number in range(len(SHOWN_Z))]
    names = [f"hall {number // 25}/press {number % 25:02d}" for number in range(machines)]
    with Store.open(root / "scores.db") as store:
        run = store.begin_run(sound)
        for number, name in enumerate(names):
            info = Registry(root / "models").save(name, model, TrainingDetails(n_clips=60, feature_spec=FeatureSpec()))
            rows = _rows(sound, name, number, clips, model, shown) if clips else []
            common = {"model": info.digest, "run_id": run, "root": root_text(sound)}
            with store.writing() as connection:
                connection.execute(clip_scores.insert(), [row | common for row in rows])
        store.end_run(run, {}, 0)
        refresh(store, root / "models", names)


def _rows(
    sound: Path, machine: str, number: int, clips: int, model: MachineModel, shown: list[Any]
) -> list[dict[str, Any]]:
    rng = np.random.default_rng(number)
    z = rng.standard_normal(clips)
    if number % 8 == 0:
        z[-max(clips // 40, 12) :] += 3.0
    places = [clips - 2 - 9 * one for one in range(len(SHOWN_Z))]
    z[places] = SHOWN_Z
    calibration = model.calibration
    if calibration is None:
        raise ValueError("the model has no calibration")
    grid = np.linspace(0.0, 20.0 * float(calibration.scores.max()), 20_000)
    scores = np.interp(z, baseline_of(calibration).z_all(grid.tolist()), grid)
    beyond = calibration.scores.size - np.searchsorted(np.sort(calibration.scores), scores, side="left")
    p_values = (1 + beyond) / (1 + calibration.scores.size)
    end, step = datetime(2026, 4, 1, tzinfo=UTC), timedelta(days=DAYS) / clips
    rows = []
    for place in range(clips):
        at = end - (clips - place) * step
        clip_id = f"{machine}/{at:%Y%m%dT%H%M%SZ}.wav"
        content = f"{machine} {place}".encode()
        if place in places:
            content = _wave(shown[places.index(place)] + number * 1e-5)
            (sound / clip_id).parent.mkdir(parents=True, exist_ok=True)
            (sound / clip_id).write_bytes(content)
        rows.append(
            {
                "clip_id": clip_id, "machine": machine, "recorded_at": utc_text(at), "recorded_at_source": "name",
                "sha256": hashlib.sha256(content).hexdigest(), "score": float(scores[place]),
                "p_value": float(p_values[place]), "status": "scored", "label": "unknown",
                "bands": BAND if z[place] > 2.5 else "[]", "level_db": -28.0, "duration_s": 10.0,
                "also_known_as": "[]", "scored_at": utc_text(end),
            }
        )  # fmt: skip
    return rows


def _wave(samples: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _page(root: Path, workers: int, audio: bool) -> Page:
    with Store.open(root / "scores.db", read_only=True, create=False) as store:
        return write_page(store, PageOptions(root / "models", root / "report.html", audio=audio, workers=workers))


def _timed(what: str, job: Any) -> Any:
    begin, cpu = time.perf_counter(), time.process_time()
    found = job()
    print(
        f"{what}: {time.perf_counter() - begin:.1f} s ({time.process_time() - cpu:.1f} s of this process)", flush=True
    )
    return found


def use(page: Path) -> None:
    """Open the page in Chromium on a desk; how long until it is there, and until a search shows its rows."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for one in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(one)
    options.binary_location = "/usr/bin/chromium"
    browser = webdriver.Chrome(options=options, service=Service(executable_path="/usr/bin/chromedriver"))
    try:
        browser.get(page.as_uri())
        load = browser.execute_script("return performance.getEntriesByType('navigation')[0].domComplete")
        search = browser.execute_script(SEARCH)
        print(f"in Chromium: there after {load:.0f} ms; search {search[0]:.0f} ms, filter {search[1]:.0f} ms")
    finally:
        browser.quit()


SEARCH: Final = """
const time = (act) => {
  const begin = performance.now();
  act();
  document.body.getBoundingClientRect();  // what is shown is laid out, too
  return performance.now() - begin;
};
const box = document.getElementById("search");
const type = (text) => { box.value = text; box.dispatchEvent(new Event("input")); };
const search = time(() => type("press 07"));
type("");
return [search, time(() => document.querySelector("#filters button").click())];
"""

if __name__ == "__main__":
    main()

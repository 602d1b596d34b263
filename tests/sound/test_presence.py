"""A machine that stands still is off, a microphone that fades is faint, and neither a healthy nor a sick machine is."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from acoustic_ad.sound.features import FeatureSpec, LogMel
from acoustic_ad.sound.machine_faults import faults_of
from acoustic_ad.sound.machine_sounds import draw_machine
from acoustic_ad.sound.presence import Array, Presence, fine_structure, smooth
from acoustic_ad.sound.simulate import plan_run_to_failure
from acoustic_ad.sound.simulated_clip import draw_session, simulate_clip

FRONT_END = LogMel(FeatureSpec(16_000, 1024, 512, 128, 0.0, 8_000.0))
TYPES = ("fan", "pump", "gearbox", "valve", "motor")


def level_of(samples: np.ndarray) -> Array:
    """The clip-mean log-mel [128]."""
    return np.concatenate(list(FRONT_END.stream([samples]))).mean(axis=0, dtype=np.float64)


@functools.cache
def life(kind: str, snr_db: float) -> list[tuple[bool, float, str, Array]]:
    """(running, microphone, split, level) of each clip: wear, nights off, a dying microphone."""
    fault = faults_of(kind)[0]
    clips = plan_run_to_failure(
        f"{kind}/id_00", days=15, clips_per_day=8, seed=5, fault=fault, onset_day=6.0, failure_day=10.0,
        duration_s=2.0, snr_db=snr_db, off_nights=True, dying_microphone=True,
    )  # fmt: skip
    heard = [clip for clip in clips if clip.microphone > 0]  # digital silence needs no reference
    return [(clip.running, clip.microphone, clip.split, level_of(clip.render())) for clip in heard]


def verdicts(kind: str, snr_db: float) -> list[tuple[bool, float, str]]:
    """(running, microphone, verdict) of each clip."""
    clips = life(kind, snr_db)
    presence = Presence.of(np.stack([level for *_, split, level in clips if split == "train"]))
    return [(running, ear, (presence.judge(level) or ("there", ""))[0]) for running, ear, _, level in clips]


@pytest.mark.parametrize("snr_db", [6.0, 0.0])
@pytest.mark.parametrize("kind", TYPES)
def test_nights_are_off_and_a_dying_microphone_is_faint(kind: str, snr_db: float) -> None:
    found = verdicts(kind, snr_db)
    assert {verdict for running, ear, verdict in found if running and ear == 1} == {"there"}
    nights = [verdict for running, ear, verdict in found if not running and ear == 1]
    assert len(nights) >= 20 and set(nights) == {"off"}
    assert {verdict for _, ear, verdict in found if ear < 0.7} == {"faint"}
    fading = {verdict for running, ear, verdict in found if running and 0.7 <= ear < 1}
    assert fading and fading <= {"there", "faint"}, "a machine that is heard is not off"


# --- ways in which microphones fade ----------------------------------------------------------------------------------


def duller(samples: np.ndarray, cutoff_hz: float) -> np.ndarray:
    return sosfilt(butter(2, cutoff_hz, fs=16_000, output="sos"), samples)


def hum(samples: np.ndarray) -> np.ndarray:
    return 0.1 * samples.std() * np.sin(2 * np.pi * 50 / 16_000 * np.arange(samples.size))


def drop_outs(samples: np.ndarray) -> np.ndarray:
    alive = np.random.default_rng(1).random(-(-samples.size // 800)) < 0.1
    return samples * np.maximum(np.repeat(alive, 800)[: samples.size], 0.01)


FADES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "a gain that was turned down": lambda samples: 0.1 * samples,
    "a membrane that takes less and less": lambda samples: 0.02 * samples,
    "nothing but a hum from the cable": lambda samples: 0.01 * samples + hum(samples),
    "mud on it": lambda samples: duller(samples, 1_000.0),
    "a cover on it": lambda samples: 0.3 * duller(samples, 2_000.0),
    "a loose contact": drop_outs,
}


@functools.cache
def running(kind: str, snr_db: float, first: int, count: int) -> list[np.ndarray]:
    spec = draw_machine(f"{kind}/id_05", 7)
    return [
        simulate_clip(spec, duration_s=2.0, session=draw_session(f"{kind} {n // 4}", 7), seed=n, snr_db=snr_db)
        for n in range(first, first + count)
    ]


@pytest.mark.parametrize("noise", [0.0, 0.05], ids=["a silent recorder", "a recorder with noise of its own"])
@pytest.mark.parametrize("snr_db", [12.0, 0.0])
@pytest.mark.parametrize("fade", FADES)
@pytest.mark.parametrize("kind", TYPES)
def test_however_a_microphone_fades_it_is_faint_and_its_machine_not_off(
    kind: str, fade: str, snr_db: float, noise: float
) -> None:
    own = noise * 10 ** (-max(snr_db, 0.0) / 20)  # of the hall's level
    presence = Presence.of(np.stack([level_of(clip) for clip in running(kind, snr_db, 0, 16)]))
    for clip in running(kind, snr_db, 100, 3):
        heard = FADES[fade](clip) + own * clip.std() * np.random.default_rng(2).standard_normal(clip.size)
        verdict, _ = presence.judge(level_of(heard.astype(np.float32))) or ("there", "")
        assert verdict == "faint"
        assert presence.judge(level_of(clip)) is None


def test_upper_bands_that_fall_a_little_are_left_to_the_machines_health() -> None:
    """A leak that was sealed takes its hiss along: that is the machine's, not the microphone's."""
    levels = np.stack([level_of(clip) for clip in running("motor", 6.0, 0, 16)])
    hiss = np.where(np.arange(128) >= 96, 12.0, 0.0)
    presence = Presence.of(levels + hiss)
    assert presence.judge(levels[3]) is None


def machine_levels(kind: str, count: int, first: int, **options: object) -> list[Array]:
    spec = draw_machine(f"{kind}/id_02", 3)
    clips = range(first, first + count)
    return [
        level_of(simulate_clip(spec, duration_s=1.0, session=draw_session(f"s{n // 4}", 1), seed=n, **options))  # type: ignore[arg-type]
        for n in clips
    ]


@pytest.mark.parametrize("kind", TYPES)
def test_no_fault_is_taken_for_a_machine_that_is_gone(kind: str) -> None:
    """Ten clips of a second to learn from, and every fault in full."""
    presence = Presence.of(np.stack(machine_levels(kind, 10, 0)))
    for fault in (None, *faults_of(kind)):
        sick = machine_levels(kind, 4, 100, fault=fault, severity=0.0 if fault is None else 1.0)
        assert [presence.judge(level) for level in sick] == [None] * 4, fault


def test_a_machine_far_above_its_hall_is_off_by_level_though_it_has_no_tones() -> None:
    rng = np.random.default_rng(0)
    running = -40.0 + 0.3 * rng.standard_normal((20, 64))
    presence = Presence.of(running)
    assert presence.judge(running[0] - 1.0) is None
    kind, reason = presence.judge(running[0] - np.linspace(14.0, 4.0, 64)) or ("", "")
    assert kind == "off" and "9 dB below" in reason
    assert presence.judge(running[0] + 20.0) is None


def test_turning_the_gain_down_is_no_machine_that_is_off() -> None:
    """All bands fall alike and the tones stay: the machine is heard, through a microphone that is not what it was."""
    levels = np.stack(machine_levels("gearbox", 12, 0))
    presence = Presence.of(levels)
    kind, reason = presence.judge(levels[3] - 20.0) or ("", "")
    assert kind == "faint" and "is heard, but" in reason
    assert presence.judge(levels[3] - 0.5) is None


def test_the_fine_structure_is_what_stands_out_from_its_neighbours() -> None:
    slope = np.linspace(-30.0, -90.0, 128)
    np.testing.assert_allclose(fine_structure(slope)[8:-8], 0.0, atol=1e-9)
    tone = slope.copy()
    tone[60] += 18.0
    assert fine_structure(tone)[60] == pytest.approx(16.0)  # itself less the mean of nine bands
    assert smooth(tone)[60] == pytest.approx(slope[60] + 2.0)
    np.testing.assert_allclose(fine_structure(np.stack([tone, slope]))[0], fine_structure(tone))


def test_it_comes_back_from_its_arrays_and_refuses_what_does_not_fit() -> None:
    presence = Presence.of(np.stack(machine_levels("fan", 10, 0)))
    state = presence.state()
    again = Presence.from_state(state, presence.level_db, presence.levels)
    for name in Presence.__slots__:
        np.testing.assert_array_equal(getattr(again, name), getattr(presence, name))
    for name, wrong in (("likeness", state["likeness"][:-1]), ("level_deviation_db", -state["level_deviation_db"])):
        with pytest.raises(ValueError):
            Presence.from_state(state | {name: wrong}, presence.level_db, presence.levels)

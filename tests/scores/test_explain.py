"""What stands out is named at the right frequency, with the right sign, in words."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from acoustic_ad.scores.explain import LIMIT_DB, LIMIT_Z, Standout, in_hertz, in_words, standouts, summarise

CENTRES = np.geomspace(50.0, 7_800.0, 64)
Array = npt.NDArray[np.float64]


def clip(*bumps: tuple[float, float, int], seed: int = 0) -> tuple[Array, Array]:
    """(dB, z) of a clip with bumps (Hz, dB, bands to each side) on a normal that moves by 0.5 dB."""
    db = 0.4 * np.random.default_rng(seed).uniform(-1, 1, len(CENTRES))
    for hertz, height, reach in bumps:
        centre = int(np.abs(CENTRES - hertz).argmin())
        for band in range(centre - reach, centre + reach + 1):
            db[band] += height * (1 - abs(band - centre) / (reach + 1))
    return db, db / 0.5


def band_of(hertz: float) -> float:
    return float(CENTRES[np.abs(CENTRES - hertz).argmin()])


@pytest.mark.parametrize("hertz", [60.0, 250.0, 1000.0, 3400.0, 7_700.0])
@pytest.mark.parametrize("height", [9.0, -9.0])
def test_a_bump_is_found_where_it_is(hertz: float, height: float) -> None:
    (found,) = standouts(*clip((hertz, height, 0)), CENTRES)
    assert found.hz == band_of(hertz)
    assert found.low_hz <= found.hz <= found.high_hz
    assert found.db == pytest.approx(height, abs=0.5) and np.sign(found.z) == np.sign(height)


def test_in_the_words_of_a_mechanic() -> None:
    found = standouts(*clip((3400.0, 9.0, 0), (250.0, -4.0, 0)), CENTRES)
    loud, quiet = in_words(found).split(", ")
    assert loud.startswith("+9 dB around 3.") and loud.endswith(" kHz")
    assert quiet.startswith("-4 dB around 2") and quiet.endswith(" Hz")
    assert in_words([]) == ""
    assert (in_hertz(250.4), in_hertz(3_400.0), in_hertz(12_000.0)) == ("250 Hz", "3.4 kHz", "12.0 kHz")


@pytest.mark.parametrize("seed", range(5))
def test_nothing_stands_out_of_a_normal_clip(seed: int) -> None:
    assert standouts(*clip(seed=seed), CENTRES) == []
    assert standouts(np.zeros(64), np.zeros(64), CENTRES) == []


def test_it_must_be_unusual_and_audible_and_both_in_one_direction() -> None:
    db, z = np.zeros(64), np.zeros(64)
    db[10], z[10] = 0.9 * LIMIT_DB, 50.0  # far beyond what is normal, and nobody could hear it
    db[20], z[20] = 20.0, 0.9 * LIMIT_Z  # loud, and often so
    db[30], z[30] = 5.0, -5.0  # louder than usual, yet less than the network expected
    assert standouts(db, z, CENTRES) == []
    db[40], z[40] = LIMIT_DB, LIMIT_Z
    assert [found.hz for found in standouts(db, z, CENTRES)] == [CENTRES[40]]


def test_neighbours_are_one_and_opposite_neighbours_two() -> None:
    (found,) = standouts(*clip((1000.0, 12.0, 3)), CENTRES)
    assert found.low_hz < band_of(1000.0) < found.high_hz
    assert found.hz == band_of(1000.0)
    db, z = np.zeros(64), np.zeros(64)
    db[20:23], db[23:25] = 6.0, -5.0
    z[:] = 2.0 * db
    louder, quieter = standouts(db, z, CENTRES)
    assert (louder.low_hz, louder.high_hz) == (CENTRES[20], CENTRES[22]) and louder.db == 6.0
    assert (quieter.low_hz, quieter.high_hz) == (CENTRES[23], CENTRES[24]) and quieter.db == -5.0


def test_everything_louder_is_one_standout() -> None:
    (found,) = standouts(np.full(64, 6.0), np.full(64, 8.0), CENTRES)
    assert (found.low_hz, found.high_hz) == (CENTRES[0], CENTRES[-1])


def test_the_strongest_come_first_and_few_are_shown() -> None:
    bumps = [(100.0, 5.0, 0), (400.0, 20.0, 0), (1500.0, -10.0, 0), (6000.0, 15.0, 0)]
    found = standouts(*clip(*bumps), CENTRES, most=3)
    assert [standout.hz for standout in found] == [band_of(400.0), band_of(6000.0), band_of(1500.0)]


def test_for_json_it_is_rounded() -> None:
    shown = Standout(3412.345, 3000.04, 4000.0, 9.123, 12.0).as_dict()
    assert shown == {"hz": 3412.3, "low_hz": 3000.0, "high_hz": 4000.0, "db": 9.1, "z": 12.0}


def test_several_clips_agree_on_one_bump() -> None:
    clips = [standouts(*clip((hertz, 9.0, 0), seed=n), CENTRES) for n, hertz in enumerate([950.0, 1000.0, 1060.0])]
    clips.append(standouts(*clip((5000.0, 6.0, 0), seed=9), CENTRES))
    clips.append([])
    first, second = summarise(clips)
    assert first.hz == pytest.approx(1000.0, rel=0.1) and first.db == pytest.approx(9.0, abs=0.5)
    assert second.hz == band_of(5000.0)
    assert len(summarise(clips, most=1)) == 1
    assert summarise([]) == [] and summarise([[], []]) == []


def test_louder_and_quieter_are_not_averaged_away_and_do_not_contradict() -> None:
    """Of "+9 dB around 1.0 kHz, -6 dB around 1.0 kHz" nobody can make sense: what most clips say is said."""
    clips = [standouts(*clip((1000.0, height, 0)), CENTRES) for height in (9.0, -6.0, 9.0)]
    (found,) = summarise(clips)
    assert found.db == pytest.approx(9.0, abs=0.5)
    clips = [standouts(*clip((hertz, height, 0)), CENTRES) for hertz, height in ((1000.0, 9.0), (3000.0, -9.0))]
    assert sorted(np.sign(found.db) for found in summarise(clips)) == [-1.0, 1.0]

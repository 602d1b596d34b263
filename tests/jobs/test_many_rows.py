"""Rows in memory: the search for cycles is off meanwhile, and as it was afterwards."""

from __future__ import annotations

import gc

import pytest

from acoustic_ad.jobs.many_rows import many_rows


def test_the_search_is_off_within_and_on_again_after_an_error() -> None:
    @many_rows()
    def fails() -> None:
        assert not gc.isenabled()
        raise ValueError

    with pytest.raises(ValueError):
        fails()
    assert gc.isenabled()


def test_a_search_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with many_rows(), many_rows():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()

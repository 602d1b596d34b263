"""The page in a real browser: from a file, without a network, on a phone, by keyboard, for every pair of eyes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from chromium import DESK, PHONE, chromium, complaints, installed, open_file, requested, resize
from plant import Plant
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from written_page import HOSTILE, HOSTILE_NOTE, LONG, Page, in_process

from acoustic_ad.report.page import render

SCRIPTS = Path(__file__).with_name("browser_checks.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page(hostile: Plant) -> Path:
    """The page of a fleet; of its machines, that with markup for a name is in alarm."""
    installed()
    out = hostile.root / "browser.html"
    in_process("report", *hostile.where, "--out", out, "--workers", "1")
    return out


@pytest.fixture(scope="module")
def heard(hostile: Plant) -> Path:
    """The page of one machine, whose clips can be played."""
    installed()
    out = hostile.root / "heard.html"
    in_process("report", *hostile.where, "--out", out, "--machine", "pump", "--workers", "1")
    return out


def place_of(page: Path, name: str) -> str:
    """The address of a machine's view within the page; of the fleet without a name."""
    return "" if not name else f"#machine={Page(page).names.index(name)}"


def ask(browser: webdriver.Chrome, expression: str, *args: Any) -> Any:
    """The value of an expression in the page, which may use what browser_checks.js defines."""
    return browser.execute_script(f"{SCRIPTS}\nreturn {expression};", *args)


def becomes(browser: webdriver.Chrome, expression: str, wanted: Any) -> None:
    """Wait for what a key or a link brings about: its events come after the key is answered."""
    WebDriverWait(browser, 20).until(lambda driver: ask(driver, expression) == wanted, expression)


def names_shown(browser: webdriver.Chrome) -> list[str]:
    found: list[str] = ask(browser, "texts('#rows .name')")
    return found


def press(browser: webdriver.Chrome, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_no_network_no_complaints_no_sideways_scroll(
    browser: webdriver.Chrome, page: Path, heard: Path, size: tuple[int, int]
) -> None:
    views = [
        (page, ""),
        (page, place_of(page, HOSTILE)),
        (page, place_of(page, LONG)),
        (heard, place_of(heard, "pump")),
    ]
    for file, at in views:
        open_file(browser, file, at, size)
        ask(browser, "openAll()")
        assert ask(browser, "sideways()") == [], at
        asked = requested(browser)
        assert file.as_uri() in {url.partition("#")[0] for url in asked}
        assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
        assert complaints(browser) == []


def test_hostile_names_are_text(browser: webdriver.Chrome, page: Path) -> None:
    open_file(browser, page)
    assert set(names_shown(browser)) == {"fan", "pump", HOSTILE, LONG}
    open_file(browser, page, place_of(page, HOSTILE))
    assert ask(browser, "texts('#machine-title')") == [HOSTILE]
    assert HOSTILE_NOTE in ask(browser, "document.getElementById('machine').textContent")
    assert HOSTILE in browser.title
    assert ask(browser, "document.querySelectorAll('img, iframe, object, embed').length") == 0
    assert ask(browser, "document.querySelectorAll('script').length") == 2
    assert ask(browser, "handlers()") == []


def test_filter_search_and_order(browser: webdriver.Chrome, page: Path) -> None:
    open_file(browser, page)
    everything = names_shown(browser)
    assert everything[0] == HOSTILE, "worst first"
    search = browser.find_element("id", "search")
    search.send_keys("PUMP")
    assert names_shown(browser) == ["pump"] and ask(browser, "texts('#count')") == ["1 of 4 machines"]
    search.clear()
    search.send_keys("<img")
    assert names_shown(browser) == [HOSTILE]
    search.clear()
    search.send_keys("no such machine")
    assert names_shown(browser) == [] and ask(browser, "texts('#count')") == ["No machine fits."]
    search.clear()
    search.send_keys(" ")
    assert names_shown(browser) == everything
    button = browser.find_element("css selector", "#filters button[data-state=alarm]")
    button.click()
    assert button.get_attribute("aria-pressed") == "true" and HOSTILE in names_shown(browser)
    assert set(ask(browser, "texts('#rows .state')")) == {"ALARM"}
    button.click()
    assert names_shown(browser) == everything

    assert sum(int(one) for one in ask(browser, "texts('#filters .n')")) == 4

    browser.find_element("css selector", "#order option[value=name]").click()
    assert names_shown(browser) == sorted(everything, key=lambda name: (name not in (HOSTILE,), name))


def test_a_clip_plays(browser: webdriver.Chrome, heard: Path) -> None:
    open_file(browser, heard, place_of(heard, "pump"))
    players = ask(browser, "document.querySelectorAll('audio').length")
    assert players == 4, "the three worst and a normal one"
    played = browser.execute_async_script(f"{SCRIPTS}\nplay(document.querySelector('audio'), arguments[0]);")
    assert played["error"] is None and played["duration"] > 0.9 and played["at"] > 0
    assert complaints(browser) == []
    maps = ask(browser, "pictures()")
    assert maps and all(complete for complete in maps)


def test_the_timeline_shows_the_clip_behind_a_point_and_zooms(browser: webdriver.Chrome, page: Path) -> None:
    open_file(browser, page, place_of(page, HOSTILE))
    story = Page(page).data["details"][HOSTILE]["story"]
    browser.execute_script("document.querySelector('.timeline').focus()")
    press(browser, Keys.END)
    (shown,) = ask(browser, "texts('.chosen')")
    assert shown.startswith(story["head"] + story["clip"][-1]) and "+9 dB around 3.4 kHz" in shown
    press(browser, Keys.ARROW_LEFT)
    assert story["clip"][-2] in ask(browser, "texts('.chosen')")[0]
    circles = "document.querySelectorAll('.timeline circle').length"
    before = ask(browser, circles)
    press(browser, "+", "+")
    assert 0 < ask(browser, circles) < before
    press(browser, "0")
    assert ask(browser, circles) == before


def test_everything_is_reached_by_keyboard(browser: webdriver.Chrome, page: Path, heard: Path) -> None:
    for file, at in ((page, ""), (page, place_of(page, HOSTILE)), (heard, place_of(heard, "pump"))):
        open_file(browser, file, at)
        browser.execute_script(
            "document.activeElement.blur(); getSelection().removeAllRanges(); window.scrollTo(0, 0);"
        )
        wanted = ask(browser, "reachable()")
        assert len(wanted) > 5
        missing, unseen = set(wanted), []
        for _ in range(6 * len(wanted) + 20):  # inside a player several keys have a stop of their own
            press(browser, Keys.TAB)
            found = ask(browser, "focused()")
            missing.discard(found["name"])
            unseen += [] if found["seen"] else [found["name"]]
            if not missing:
                break
        assert not missing and not unseen
    open_file(browser, page)
    browser.execute_script("document.querySelector('#rows a').focus()")
    press(browser, Keys.ENTER)
    becomes(browser, "document.activeElement.id", "machine-title")
    browser.back()
    becomes(browser, "document.getElementById('fleet').hidden", False)


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_text_has_contrast_and_headings_are_in_order(
    browser: webdriver.Chrome, page: Path, heard: Path, size: tuple[int, int]
) -> None:
    for file, at in ((page, ""), (page, place_of(page, HOSTILE)), (heard, place_of(heard, "pump"))):
        open_file(browser, file, at, size)
        ask(browser, "openAll()")
        found = ask(browser, "contrasts()")
        assert len(found) > 20
        faint = [one for one in found if one["ratio"] < 4.5]
        assert not faint, faint[:5]
        levels = ask(browser, "headings()")
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels)), levels
        assert ask(browser, "nameless()") == []


def test_times_have_a_zone_and_numbers_a_unit(browser: webdriver.Chrome, heard: Path) -> None:
    open_file(browser, heard, place_of(heard, "pump"))
    text = ask(browser, "document.getElementById('machine').innerText")
    assert "2026-01-05 08:" in text and "Z" in text
    labels = ask(browser, "texts('.chart text')")
    for unit in ("frequency, Hz", "time, s", "third octave, Hz"):
        assert unit in labels
    assert any(" dB" in one for one in labels)


def test_two_thousand_machines_are_usable(browser: webdriver.Chrome, page: Path, tmp_path: Path) -> None:
    document = Page(page).data
    rows = document["rows"]
    many = [rows[number % len(rows)] | {"name": f"hall {number // 100}/machine {number}"} for number in range(2000)]
    file = tmp_path / "many.html"
    file.write_bytes(render(document | {"rows": many, "details": {}}))
    for size in (DESK, PHONE):
        open_file(browser, file, size=size)
        assert ask(browser, "texts('#count')") == ["2,000 machines"]
        assert 0 < len(names_shown(browser)) <= 240, "only as many rows as one scrolls to"
        browser.find_element("id", "search").send_keys("machine 1999")
        assert names_shown(browser) == ["hall 19/machine 1999"]
        browser.find_element("id", "search").clear()
        assert ask(browser, "sideways()") == []
    resize(browser, DESK)
    assert complaints(browser) == []

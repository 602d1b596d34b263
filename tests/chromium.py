"""A headless Chromium, Debian's, that opens files and tells what it did."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from needed import require
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

PHONE = (390, 844)
DESK = (1280, 900)


def installed() -> tuple[str, str]:
    """The browser and its driver; skips the test where there is none."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    require("chromium", browser)
    require("chromium-driver", driver)
    return str(browser), str(driver)


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """The browser; quit when the block ends."""
    browser, driver = installed()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for one in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio", "--hide-scrollbars",
                "--autoplay-policy=no-user-gesture-required", "--disable-background-networking"):  # fmt: skip
        options.add_argument(one)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium refuses to run as root within its sandbox
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    try:
        found.set_page_load_timeout(120)
        found.set_script_timeout(60)
        yield found
    finally:
        found.quit()


def resize(browser: webdriver.Chrome, size: tuple[int, int]) -> None:
    """The screen of a phone or a desk, to the pixel."""
    wide, high = size
    screen = {"width": wide, "height": high, "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def open_file(browser: webdriver.Chrome, file: Path, at: str = "", size: tuple[int, int] = DESK) -> None:
    """Open a file anew, at `#at`. What was logged before is forgotten."""
    resize(browser, size)
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(file.as_uri() + at)


def requested(browser: webdriver.Chrome) -> list[str]:
    """Every address that was asked for since the file was opened."""
    messages: list[Any] = [json.loads(one["message"])["message"] for one in browser.get_log("performance")]
    return [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What stands in the console: errors, warnings, whatever was logged."""
    return [one["message"] for one in browser.get_log("browser")]

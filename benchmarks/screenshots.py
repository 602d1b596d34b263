"""The pictures of the page in docs/images, taken from a page in headless Chromium.

make demo
python benchmarks/screenshots.py demo/report.html [--machine motor/id_01] [--out docs/images]
"""

from __future__ import annotations

import argparse
import io
import json
import re
import time
from pathlib import Path
from typing import Final

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

MOST_BYTES: Final = 300_000
COLOURS: Final = 128


def main() -> None:
    """Take them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--machine", default="motor/id_01")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    asked = parser.parse_args()
    html = asked.page.read_text(encoding="utf-8")
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    if data is None:
        raise SystemExit(f"{asked.page} is no page of acoustic-ad")
    names = [row["name"] for row in json.loads(data[1])["rows"]]
    if asked.machine not in names:
        raise SystemExit(f"{asked.page} has no machine {asked.machine}; it has {', '.join(names)}")
    view = f"#machine={names.index(asked.machine)}"
    asked.out.mkdir(parents=True, exist_ok=True)
    browser = _browser()
    try:
        for name, at, size in (
            ("fleet.png", "", (1180, 700)),
            ("machine.png", view, (1180, 1560)),
            ("phone.png", view, (390, 844)),
        ):
            file = asked.out / name
            file.write_bytes(_small(_taken(browser, asked.page.resolve().as_uri() + at, size)))
            print(f"{file}: {file.stat().st_size / 1000:.0f} kB")
    finally:
        browser.quit()


def _browser() -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for one in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(one)
    return webdriver.Chrome(options=options, service=Service(executable_path="/usr/bin/chromedriver"))


def _taken(browser: webdriver.Chrome, address: str, size: tuple[int, int]) -> bytes:
    wide, high = size
    phone = wide < 600
    screen = {"width": wide, "height": high, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get("about:blank")
    browser.get(address)
    browser.execute_script("document.activeElement.blur()")
    time.sleep(1.0)  # for the pictures to be decoded
    return browser.get_screenshot_as_png()


def _small(png: bytes) -> bytes:
    """The same picture with few colours: drawings lose nothing that one could see."""
    picture, file = Image.open(io.BytesIO(png)).convert("RGB"), io.BytesIO()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    if file.tell() > MOST_BYTES:
        raise SystemExit(f"a picture of {picture.size} pixels takes {file.tell()} bytes, over {MOST_BYTES}")
    return file.getvalue()


if __name__ == "__main__":
    main()

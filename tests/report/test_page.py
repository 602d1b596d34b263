"""The page in a file: hostile names stay data, and nothing of it points to a network."""

from __future__ import annotations

import json
import re

from acoustic_ad.report.page import json_for_html, render

HOSTILE = "</script><script>alert(1)</script>&\u2028"


def test_hostile_names_stay_data() -> None:
    text = json_for_html({"name": HOSTILE})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": HOSTILE}


def test_the_page_has_no_markup_of_names_and_no_network() -> None:
    row = {"name": HOSTILE, "state": "alarm", "out": HOSTILE}
    page = render({"rows": [row], "words": {}, "as_of": "x", "store": HOSTILE, "version": "0", "details": {}}).decode()
    assert "alert(1)</script>" not in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    outside = set(re.findall(r"https?://[^\"' ]+", page)) - {"http://www.w3.org/2000/svg"}
    assert not outside

"""Programs that tests talk to: where one is missing its tests are skipped; where all are promised, they fail.

`.ci/run` installs them and sets ACOUSTIC_AD_REQUIRE_ALL=1: a package that could not be installed must not take its
tests away in silence.
"""

from __future__ import annotations

import os
import shutil

import pytest

REQUIRE_ALL = "ACOUSTIC_AD_REQUIRE_ALL"


def require(package: str, found: object, how: str = "apt-get install {package}") -> None:
    """Skip the test, or fail it where all packages are promised, unless something of the package was `found`."""
    if found:
        return
    words = f"{package} is not installed: {how.format(package=package)}"
    if os.environ.get(REQUIRE_ALL) == "1":
        pytest.fail(f"{words} ({REQUIRE_ALL}=1: not skipped)", pytrace=False)
    pytest.skip(words)


def needs(package: str, found: object) -> pytest.MarkDecorator:
    """Marks a test that does `require(package, found)` before its fixtures are made; see conftest.py."""
    return pytest.mark.needs(package, found)


def needs_program(package: str, program: str) -> pytest.MarkDecorator:
    """Marks a test that needs a program of a Debian package."""
    return needs(package, shutil.which(program))

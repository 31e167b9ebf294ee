"""A real browser: Chromium as the system or `FLOATLINE_CHROMIUM` has it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def chromium() -> str | None:
    """Path of a Chromium or Chrome, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = (shutil.which(name) for name in names)
    return os.environ.get("FLOATLINE_CHROMIUM") or next(filter(None, found), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    # Here, so that the tests of a backend need no browser where there is none.
    from playwright.sync_api import sync_playwright

    path = chromium()
    if path is None and os.environ.get("CI"):
        pytest.fail("CI has no Chromium: .ci/run installs it; or set FLOATLINE_CHROMIUM.")
    if path is None:
        pytest.skip("no Chromium here: install it, or set FLOATLINE_CHROMIUM to its path")
    with sync_playwright() as playwright:
        # A container has no user namespaces for the sandbox; the pages are our own.
        made = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield made
        made.close()

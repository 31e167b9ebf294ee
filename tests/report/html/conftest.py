"""Pages opened in a real browser, with all that they complain about or ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from floatline.records import Diagnosis
from floatline.report.html.page import page as written
from tests.architecture import laws
from tests.report.html import rich

SCREENSHOTS = laws.ROOT / ".screenshots"
"""Not kept by git; CI keeps it as an artifact."""


@dataclass
class Opened:
    """A page and what it complained about or asked the network for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the rich diagnosis."""
    return save(rich.diagnosis(), tmp_path_factory.mktemp("pages") / "report.html")


def save(diagnosis: Diagnosis, path: Path) -> Path:
    path.write_text(written(diagnosis), encoding="utf-8")
    return path


def opened(
    browser: Browser, file: Path, *, dark: bool = False, width: int = 1280, height: int = 900
) -> Opened:
    """Opens a page from the disk and waits until it is drawn."""
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
    )
    result = Opened(page)
    page.on("console", lambda message: result.complaints.append(message.text))
    page.on("pageerror", lambda error: result.complaints.append(str(error)))
    page.on("dialog", lambda dialog: result.complaints.append(f"dialog {dialog.message}"))
    page.on("request", lambda request: result.requests.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_selector("#line-chart svg .mark-rect path")
    page.wait_for_selector("figure[data-chart=training] svg")
    return result


@pytest.fixture
def report(browser: Browser, file: Path) -> Iterator[Opened]:
    found = opened(browser, file)
    yield found
    found.page.close()

"""The site, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import site


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    target = tmp_path_factory.mktemp("documentation") / "site"
    done = site.build(target)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="session")
def pages(built: Path) -> dict[Path, site.Page]:
    """Every page of the site; the one for addresses that do not exist has addresses of its own."""
    found = (path for path in sorted(built.rglob("*.html")) if path.name != "404.html")
    return {path.resolve(): site.Page(path.read_text(encoding="utf-8")) for path in found}

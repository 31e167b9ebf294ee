"""Building the documentation site without a network, and reading what was built."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from tests.architecture import laws

_WITHOUT_NETWORK = """
import socket

def refuse(*_):
    raise OSError("the site must be built without a network")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli()
"""


def build(
    target: Path, config: Path = laws.ROOT / "mkdocs.yml"
) -> subprocess.CompletedProcess[str]:
    """Runs `mkdocs build --strict` in a process that can reach nobody."""
    return subprocess.run(
        [
            *(sys.executable, "-c", _WITHOUT_NETWORK),
            *("build", "--strict", "--config-file", str(config), "--site-dir", str(target)),
        ],
        env={**os.environ, "PYTHONPATH": str(laws.SOURCE), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass
class Page(HTMLParser):
    """What a page of HTML loads, where it leads, and what can be led to.

    Attributes:
        loaded: Addresses that a browser asks for by itself.
        links: Addresses that a person may follow.
        anchors: Names of places on the page.
        text: What is read, without scripts and styles.
    """

    html: str
    loaded: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._hidden = ""
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes addresses and names."""
        found = {name: value or "" for name, value in attrs}
        if "id" in found:
            self.anchors.add(found["id"])
        if tag == "a":
            self.links += [found["href"]] if "href" in found else []
        elif tag == "link" and found.get("rel") in ("canonical", "prev", "next"):
            self.links.append(found["href"])
        else:
            self.loaded += [found[name] for name in ("src", "href", "data") if name in found]
        if tag in ("script", "style"):
            self._hidden = tag

    def handle_endtag(self, tag: str) -> None:
        """Text after a script counts again."""
        if tag == self._hidden:
            self._hidden = ""

    def handle_data(self, data: str) -> None:
        """Text counts, style sheets are searched for what they load."""
        if self._hidden == "style":
            self.loaded += loaded_by_style(data)
        elif not self._hidden:
            self.text += data


def loaded_by_style(css: str) -> list[str]:
    """Addresses that a style sheet makes a browser ask for.

    Example:

    >>> loaded_by_style('@import "a.css"; b { background: url(c.png) }')
    ['a.css', 'c.png']
    """
    found = re.findall(r"""@import\s+["']([^"']+)|url\(\s*["']?([^"')]+)""", css)
    return [one or other for one, other in found]


def elsewhere(addresses: list[str]) -> list[str]:
    """Those that lead to another host.

    Example:

    >>> elsewhere(["a.css", "#top", "data:image/png;base64,x", "//host/a.js", "https://host/"])
    ['//host/a.js', 'https://host/']
    """
    return [one for one in addresses if urlsplit(one).netloc]


def broken_links(pages: dict[Path, Page]) -> Iterator[str]:
    """Links between pages and files of the site that lead to nothing."""
    for path, page in pages.items():
        for link in {*page.links, *page.loaded}:
            address, anchor = urldefrag(link)
            if urlsplit(link).scheme or urlsplit(link).netloc:
                continue
            target = (path.parent / unquote(address)).resolve() if address else path
            if not target.exists():
                yield f"{path.name} leads to {link}"
            elif anchor and target in pages and unquote(anchor) not in pages[target].anchors:
                yield f"{path.name} leads to {link}: no such place"

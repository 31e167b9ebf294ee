"""Files of the user's, read otherwise than they stand: a change is tried and none is made."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import linecache
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, ModuleType
from typing import Any

from floatline.patches import replaced
from floatline.sources import lines_of

Texts = Mapping[str, str]
"""For the path of a file as Python knows it, what it is taken to hold."""


@contextlib.contextmanager
def edited(texts: Texts) -> Iterator[None]:
    """While active, imports, tracebacks and source readers (AutoGraph) see the texts."""
    before = {file: linecache.cache.pop(file, None) for file in texts}
    finder = _Finder(texts)
    sys.meta_path.insert(0, finder)
    try:
        with replaced(linecache, "updatecache", lambda read: _Reader(texts, read)):
            for file in texts:
                linecache.getlines(file)
            yield
    finally:
        sys.meta_path.remove(finder)
        for file, entry in before.items():
            linecache.cache.pop(file, None)
            if entry is not None:
                linecache.cache[file] = entry


class _Reader:
    """Reads a file for `linecache`, for AutoGraph asks it to read again what it holds already."""

    def __init__(self, texts: Texts, read: Callable[..., list[str]]) -> None:
        self._texts = texts
        self._read = read

    def __call__(self, filename: str, module_globals: Any = None) -> list[str]:
        """The lines of a file."""
        if filename not in self._texts:
            return self._read(filename, module_globals)
        text = self._texts[filename]
        lines = lines_of(text)
        # Without a time of change an entry is never compared with the file.
        linecache.cache[filename] = (len(text), None, lines, filename)
        return lines


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules where Python does, and hands those of the texts to a loader of its own."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module's specification; None where the file is read as it stands."""
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.origin is None or spec.origin not in self._texts:
            return None
        spec.loader = _Loader(name, spec.origin, self._texts[spec.origin])
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from a text, past the bytecode that is kept of its file."""

    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self._text = text

    def get_code(self, fullname: str) -> CodeType | None:
        """The code of the text."""
        del fullname
        return compile(self._text, self.path, "exec", dont_inherit=True)

    def get_source(self, fullname: str) -> str:
        """The text."""
        del fullname
        return self._text

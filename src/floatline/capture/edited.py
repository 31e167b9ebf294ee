"""Files of the user's, read otherwise than they stand: a change is tried and none is made.

Texts change what everyone reads. A rewriting changes only what runs: lines stay where they are.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.abc
import importlib.machinery
import linecache
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from floatline.patches import replaced
from floatline.sources import is_users, lines_of

Texts = Mapping[str, str]
"""For the path of a file as Python knows it, what it is taken to hold."""

Rewrite = Callable[[ast.Module], ast.Module]
"""Gives a program that runs in another's place; it may change what it is given."""


def as_it_stands(tree: ast.Module) -> ast.Module:
    """Rewrites nothing."""
    return tree


def code_of(source: str | bytes, file: str, rewrite: Rewrite = as_it_stands) -> CodeType:
    """The code of a file, rewritten; as it stands where that gives no Python."""
    try:
        return compile(rewrite(ast.parse(source, file)), file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return compile(source, file, "exec", dont_inherit=True)


@contextlib.contextmanager
def edited(texts: Texts, rewrite: Rewrite = as_it_stands) -> Iterator[None]:
    """While active, imports, tracebacks and source readers (AutoGraph) see the texts.

    Args:
        texts: What some files are taken to hold.
        rewrite: Applied to every module of the user's that is imported.
    """
    before = {file: linecache.cache.pop(file, None) for file in texts}
    finder = _Finder(texts, rewrite)
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
    """Finds the user's modules where Python does, and hands them to a loader of its own."""

    def __init__(self, texts: Texts, rewrite: Rewrite) -> None:
        self._texts = texts
        self._rewrite = rewrite

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module's specification; None where the file is read as it stands."""
        spec = importlib.machinery.PathFinder.find_spec(name, _users(path), target)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            return None
        text = self._texts.get(spec.origin)
        if text is None and self._rewrite is as_it_stands:
            return None
        spec.loader = _Loader(name, spec.origin, text, self._rewrite)
        return spec


def _users(path: Sequence[str] | None) -> list[str]:
    """The folders to search that are the user's, lest every import of a library's be sought."""
    folders = sys.path if path is None else path
    return [folder for folder in folders if is_users(str(Path(folder, "module.py")))]


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module past the bytecode that is kept of its file."""

    def __init__(self, name: str, path: str, text: str | None, rewrite: Rewrite) -> None:
        super().__init__(name, path)
        self._text = text
        self._rewrite = rewrite

    def get_code(self, fullname: str) -> CodeType | None:
        """The code, rewritten."""
        del fullname
        source = self.get_data(self.path) if self._text is None else self._text
        return code_of(source, self.path, self._rewrite)

    def get_source(self, fullname: str) -> str | None:
        """What the module is taken to hold."""
        return super().get_source(fullname) if self._text is None else self._text

"""Files and functions stay small, and each module says in one line what it is."""

from pathlib import Path

import pytest

from tests.architecture import laws

PYTHON = sorted(
    file
    for folder in ("src", "tests", "examples", "benchmarks", "docs")
    for file in (laws.ROOT / folder).rglob("*.py")
)


def name_of(file: Path) -> str:
    return str(file.relative_to(laws.ROOT))


@pytest.mark.parametrize("file", PYTHON, ids=name_of)
def test_files_and_functions_stay_within_the_limits(file: Path) -> None:
    assert laws.oversized(name_of(file), file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("file", PYTHON, ids=name_of)
def test_a_module_opens_with_one_line_on_what_it_is(file: Path) -> None:
    assert laws.without_opening_line(name_of(file), file.read_text(encoding="utf-8")) == []


def test_every_folder_of_the_package_is_a_package() -> None:
    folders = {file.parent for file in laws.source_files()}
    assert [name_of(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_file_limit_can_fail() -> None:
    assert laws.oversized("x.py", "a = 1\n" * 400) == []
    assert laws.oversized("x.py", "a = 1\n" * 401) == ["x.py has 401 lines"]


def test_the_function_limit_counts_no_docstring_and_can_fail() -> None:
    docstring = '    """One.\n' + "\n" * 30 + '    """\n'
    body = "    a = 1\n" * 59
    assert laws.oversized("x.py", f"def f():\n{docstring}{body}") == []
    assert laws.oversized("x.py", f"def f():\n{body}    a = 2\n") == ["x.py:1 f has 61 lines"]
    assert laws.oversized("x.py", f"async def f():\n{docstring}{body}    a = 2\n") == [
        "x.py:1 f has 61 lines"
    ]


@pytest.mark.parametrize(
    "source", ["a = 1\n", '"""First line\nruns on.\n"""\n', '"""\nBegins late.\n"""\n', ""]
)
def test_the_opening_line_guard_can_fail(source: str) -> None:
    assert len(laws.without_opening_line("x.py", source)) == 1

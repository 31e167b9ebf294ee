"""The user's code as a diagnosis keeps it."""

from pathlib import Path

from floatline import records
from floatline.capture.texts import MAX_LINES, MAX_WIDTH, NEAR, source_texts


def texts(file: Path, line: int) -> tuple[records.SourceText, ...]:
    configuration = records.Configuration("float32", source=records.SourceLine(str(file), line))
    return source_texts(configuration, (), ())


def test_a_file_is_kept_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "train.py"
    file.write_text("import keras\n\nmodel.fit(x)\n")
    (text,) = texts(file, 3)
    assert text.file == str(file)
    assert text.lines == {1: "import keras", 2: "", 3: "model.fit(x)"}


def test_of_a_long_file_only_what_is_near_a_place_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "long.py"
    file.write_text("".join(f"line_{n}\n" for n in range(1, MAX_LINES + 2)))
    (text,) = texts(file, 200)
    assert list(text.lines) == list(range(200 - NEAR, 200 + NEAR + 1))
    assert text.lines[200] == "line_200"


def test_a_long_line_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "wide.py"
    file.write_text("x" * 10_000)
    (text,) = texts(file, 1)
    assert len(text.lines[1]) == MAX_WIDTH


def test_a_file_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    assert texts(tmp_path / "missing.py", 1) == ()

"""Writing results: atomically, onto what may be written, never over a device."""

import os
from pathlib import Path

import pytest

from floatline.cli.output import checked_target, write_atomically
from floatline.errors import InputError


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    write_atomically(checked_target(str(tmp_path / "link.json")), "new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"


def test_a_device_is_written_to_not_replaced() -> None:
    write_atomically(checked_target(os.devnull), "{}")
    assert Path(os.devnull).is_char_device()


def test_the_file_gets_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.json", "{}")
    (tmp_path / "b.json").touch()
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "b.json").stat().st_mode


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_atomically(tmp_path / "a.json", "\ud800")
    assert os.listdir(tmp_path) == []


def test_a_target_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("floatline.cli.output.os.access", lambda *_: False)
    with pytest.raises(InputError, match="no permission"):
        checked_target(str(tmp_path / "a.json"))

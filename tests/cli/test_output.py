"""Where results may go is known before anything has run."""

import os
from pathlib import Path

import pytest

from floatline import files
from floatline.cli.output import checked_target
from floatline.errors import InputError


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    files.write(checked_target(str(tmp_path / "link.json")), "new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"


def test_a_device_is_written_to_not_replaced() -> None:
    files.write(checked_target(os.devnull), "{}")
    assert Path(os.devnull).is_char_device()


def test_a_target_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("floatline.cli.output.os.access", lambda *_: False)
    with pytest.raises(InputError, match="no permission"):
        checked_target(str(tmp_path / "a.json"))

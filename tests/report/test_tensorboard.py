"""Event files: read back with TensorBoard's own records, as any TensorBoard would."""

import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from floatline.errors import InputError
from floatline.report import tensorboard
from tests.report import samples
from tests.report.html import rich


def events(folder: Path) -> Iterator[Any]:
    """Every value in the one event file of a folder: length, its check sum, data, check sum."""
    (file,) = folder.iterdir()
    data = file.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        yield from ((event.step, value) for value in event.summary.value)
        data = data[16 + length :]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("events")
    tensorboard.write(rich.diagnosis(), folder)
    return list(events(folder))


def test_losses_are_scalars_by_step(written: list[Any]) -> None:
    losses = {step: v.simple_value for step, v in written if v.tag == "floatline/loss"}
    assert losses == {step: 1.0 for step in range(30) if step % 7}
    scales = [v.simple_value for _, v in written if v.tag == "floatline/log2_loss_scale"]
    assert scales == [15.0 - step for step in range(30)]
    gone = {s for s, v in written if v.tag == "floatline/loss_not_finite" and v.simple_value}
    assert gone == {0, 7, 14, 21, 28}


def test_the_float_line_is_an_image_for_each_traced_step_and_phase(written: list[Any]) -> None:
    images = [(step, value.image) for step, value in written if value.HasField("image")]
    assert sorted(step for step, _ in images) == [4, 4, 4, 9, 9, 9]
    for _, image in images:
        assert image.encoded_image_string.startswith(b"\x89PNG")
        assert image.width > 900
        assert image.height > 100


def test_findings_are_text_in_which_nothing_of_the_model_is_markup(written: list[Any]) -> None:
    texts = {v.tag: v.tensor.string_val[0].decode() for _, v in written if v.tensor.string_val}
    assert "The precision is at fault." in texts["floatline/verdict/text_summary"]
    found = texts["floatline/finding_1/text_summary"]
    assert "loss-scale-too-low" in found
    assert "<script" not in found
    assert "Tried: the changed script was run" in texts["floatline/repair/text_summary"]
    # Markdown shows indented lines as they are.
    lines = texts["floatline/patch/text_summary"].splitlines()
    assert [line.removeprefix("    ") for line in lines] == rich.PATCH.splitlines()
    assert all(line.startswith("    ") for line in lines)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        tensorboard.write(samples.healthy(), tmp_path / "file" / "events")


def test_nothing_measured_makes_no_images(tmp_path: Path) -> None:
    trace = dataclasses.replace(samples.traced(), sites=(), gradients=(), losses=())
    evidence = dataclasses.replace(samples.precision().evidence, traces=(trace,))
    tensorboard.write(dataclasses.replace(samples.precision(), evidence=evidence), tmp_path)
    assert not [value for _, value in events(tmp_path) if value.HasField("image")]

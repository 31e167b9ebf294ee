"""Which callbacks run under watch."""

from __future__ import annotations

from typing import Any

import keras
import pytest

from floatline.capture.callbacks import select


class Own(keras.callbacks.Callback):  # type: ignore[misc]
    pass


class OwnCheckpoint(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
    pass


@pytest.mark.parametrize(
    "writing",
    [
        keras.callbacks.ModelCheckpoint("model.keras"),
        keras.callbacks.BackupAndRestore("backup"),
        keras.callbacks.CSVLogger("log.csv"),
        keras.callbacks.TensorBoard("logs"),
        keras.callbacks.RemoteMonitor(),
        OwnCheckpoint("model.keras"),
    ],
)
def test_what_writes_is_left_out_with_a_note(writing: Any) -> None:
    stopping = keras.callbacks.EarlyStopping()
    running, notes = select([stopping, writing])
    assert running == [stopping]
    assert len(notes) == 1
    assert type(writing).__name__ in notes[0]


def test_the_users_own_run_with_a_note() -> None:
    own = Own()
    running, notes = select(own)
    assert running == [own]
    assert notes == ("Your own callbacks ran during the diagnosis: Own.",)


def test_nothing_gives_nothing() -> None:
    assert select(None) == ([], ())


def test_a_callback_list_is_opened_and_its_progress_bar_left_out() -> None:
    stopping = keras.callbacks.EarlyStopping()
    listed = keras.callbacks.CallbackList([stopping], add_progbar=True)
    assert select(listed) == ([stopping], ())

"""How the command line ends when a step cannot be traced."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from floatline.cli.failures import WITHOUT_A_STEP, Commands
from floatline.errors import BackendError, TraceError


@pytest.mark.parametrize(("kind", "told"), [(TraceError, True), (BackendError, False)])
def test_what_is_left_without_a_step_is_said(kind: type[Exception], *, told: bool) -> None:
    @click.group(cls=Commands)
    def program() -> None:
        """A program."""

    @program.command()
    def fails() -> None:
        raise kind("It cannot be done.", "Do something else.")

    result = CliRunner().invoke(program, ["fails"])
    assert result.exit_code == 2
    assert (WITHOUT_A_STEP.strip() in result.output) is told

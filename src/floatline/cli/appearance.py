"""The options for how much is said and how it looks, the same for every command that says much."""

from __future__ import annotations

from typing import Any

import click

quiet_option = click.option(
    "--quiet", is_flag=True, help="Show no progress, and only what matters most."
)

no_color_option = click.option(
    "--no-color", is_flag=True, help="Use no colour (as the variable NO_COLOR does)."
)


def uncoloured_option(command: Any) -> Any:
    """Adds `--no-color` to a command that never colours, so that it can be asked of any."""
    return click.option(
        "--no-color",
        is_flag=True,
        expose_value=False,
        help="Changes nothing: what Floatline says here has no colour.",
    )(command)

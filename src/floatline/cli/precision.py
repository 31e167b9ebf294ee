"""The options `--precision` and `--plan`, and what they ask for."""

from __future__ import annotations

from typing import Any

import click

from floatline.errors import InputError
from floatline.precision.plan import Plan
from floatline.precision.policies import POLICIES


def precision_options(command: Any) -> Any:
    """Adds `--precision` and `--plan`."""
    precision = click.option(
        "--precision",
        type=click.Choice(list(POLICIES)),
        help="Set this Keras dtype policy before the script runs, with loss scaling where it is "
        "due.",
    )
    plan = click.option(
        "--plan", "plan_file", metavar="FILE", help="Apply this plan to the script's model."
    )
    return precision(plan(command))


def asked_for(precision: str | None, plan_file: str | None) -> str | Plan | None:
    """What to turn on; a plan is read before the script runs, so that a bad one costs nothing.

    Raises:
        InputError: Both are given, or the plan cannot be read.
    """
    if precision is not None and plan_file is not None:
        raise InputError(
            f"Received both --precision {precision} and --plan {plan_file}.",
            "Give one of them; a plan can hold a rule for every layer.",
        )
    return precision if plan_file is None else Plan.load(plan_file)

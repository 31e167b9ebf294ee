"""`floatline explain` and `floatline rules`: the pages of the rules, without loading Keras."""

from __future__ import annotations

import sys

import click

from floatline.findings.page import page
from floatline.findings.table import RULES, rule_named
from floatline.report import explain as explain_report
from floatline.report import terminal


@click.command(short_help="Show the page of a rule.")
@click.argument("rule", metavar="FLnnn")
def explain(rule: str) -> None:
    """Show what a rule means, its evidence, what to do, and when it is harmless.

    FLnnn is the rule's id; the name of its cause does as well.
    """
    leaf = page(rule_named(rule))
    terminal.show(explain_report.rule_page(leaf), terminal.console(sys.stdout))


@click.command(short_help="List every rule.")
def rules() -> None:
    """List every rule with the root cause that it looks for."""
    pages = [page(rule) for rule in RULES]
    terminal.show(explain_report.rule_list(pages), terminal.console(sys.stdout))

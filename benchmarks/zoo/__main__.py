"""How often is the right cause named, and the training repaired? Floatline and peers on the zoo.

Every script of tests/patients is run under every tool in a process of its own, one after the
other, with a time limit. Results are kept in a folder: a run that was interrupted goes on.

    python -m benchmarks.zoo                                  everything, on TensorFlow
    python -m benchmarks.zoo --backend jax --sample 20        every sixth script, on JAX
    python -m benchmarks.zoo --tools floatline precision/     one tool, scripts named so
    python -m benchmarks.zoo --tools floatline --no-repair    detection only, in a third of the time
    python -m benchmarks.zoo --tables                         prints what is there, runs nothing
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.zoo import runs, tables
from benchmarks.zoo.tools import ALL, TOOLS, Tool
from tests.patients.cases import TRUTHS
from tests.patients.truth import Truth


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--backend", choices=ALL, default="tensorflow")
    parser.add_argument("--out", type=Path, help="folder of results; build/zoo/BACKEND if left out")
    known = ", ".join(tool.name for tool in TOOLS)
    parser.add_argument("--tools", metavar="A,B", help=f"of these, by comma: {known}")
    parser.add_argument("--sample", type=int, metavar="N", help="about N scripts, evenly chosen")
    parser.add_argument("--no-repair", action="store_true", help="Floatline only diagnoses")
    parser.add_argument("--tables", action="store_true", help="run nothing, print what is there")
    parser.add_argument("scripts", nargs="*", metavar="PART", help="part of a script's path")
    return parser.parse_args()


def chosen(backend: str, parts: Sequence[str], sample: int | None) -> list[Truth]:
    """The scripts that can run on the backend, sick ones first."""
    order = {"precision": 0, "float32": 1, "healthy": 2}
    usable = [truth for truth in TRUTHS if backend in runs.backends_of(truth)]
    asked = [t for t in usable if not parts or any(part in t.script for part in parts)]
    asked.sort(key=lambda truth: order[truth.script.partition("/")[0]])
    return asked[:: max(1, round(len(asked) / sample))] if sample else asked


def results(
    tools: Sequence[Tool], truths: Sequence[Truth], folder: Path, backend: str, *, only_kept: bool
) -> Iterator[runs.Run]:
    """Every result, run when it is not there yet."""
    for tool in tools:
        for truth in truths:
            found = runs.kept(folder, tool, truth)
            if found is None and not only_kept:
                found = runs.run(folder, tool, truth, backend)
                print(f"{tool.name} {truth.script}: {found.seconds:.0f} s", flush=True)
            if found is not None:
                yield found


def main() -> None:
    """Runs what is missing, then prints the tables."""
    asked = options()
    folder = (asked.out or Path("build/zoo") / asked.backend).resolve()
    names = (asked.tools or ",".join(tool.name for tool in TOOLS)).split(",")
    usable = [tool for tool in TOOLS if tool.name in names and asked.backend in tool.backends]
    tools = [replace(tool, repairs=not asked.no_repair) for tool in usable]
    truths = chosen(asked.backend, asked.scripts, asked.sample)
    made = list(results(tools, truths, folder, asked.backend, only_kept=asked.tables))
    text = tables.report(made, {truth.script: truth.on(asked.backend) for truth in truths})
    (folder / "tables.md").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()

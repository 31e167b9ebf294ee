"""How often is the right cause named, and the training repaired? Floatline and peers on the zoo.

Every script of tests/patients is run under every tool in a process of its own, one after the
other unless asked otherwise, with a time limit. Results are kept in a folder: a run that was
interrupted goes on.

    python -m benchmarks.zoo                                  everything, on TensorFlow
    python -m benchmarks.zoo --backend jax --sample 20        every sixth script, on JAX
    python -m benchmarks.zoo --tools floatline precision/     one tool, scripts named so
    python -m benchmarks.zoo --tools floatline --no-repair    detection only, in a third of the time
    python -m benchmarks.zoo --jobs 8                         eight scripts at a time
    python -m benchmarks.zoo --tables                         prints what is there, runs nothing
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product
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
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="scripts at a time")
    parser.add_argument("--tables", action="store_true", help="run nothing, print what is there")
    parser.add_argument("scripts", nargs="*", metavar="PART", help="part of a script's path")
    return parser.parse_args()


def chosen(backend: str, parts: Sequence[str], sample: int | None) -> list[Truth]:
    """The scripts that can run on the backend, sick ones first."""
    order = {"precision": 0, "float32": 1, "healthy": 2}
    usable = [truth for truth in TRUTHS if backend in truth.backends]
    asked = [t for t in usable if not parts or any(part in t.script for part in parts)]
    asked.sort(key=lambda truth: order[truth.script.partition("/")[0]])
    return asked[:: max(1, round(len(asked) / sample))] if sample else asked


def result(asked: tuple[Tool, Truth], folder: Path, backend: str) -> runs.Run:
    """What a tool says about a script, run when it is not there yet."""
    tool, truth = asked
    found = runs.kept(folder, tool, truth)
    if found is None:
        found = runs.run(folder, tool, truth, backend)
        print(f"{tool.name} {truth.script}: {found.seconds:.0f} s", flush=True)
    return found


def results(
    pairs: Sequence[tuple[Tool, Truth]], folder: Path, backend: str, jobs: int
) -> Iterator[runs.Run]:
    """Every result; several processes at a time share the machine, and their seconds show it."""
    one = partial(result, folder=folder, backend=backend)
    if jobs == 1:  # In this thread, where an interruption ends the process that runs.
        yield from map(one, pairs)
        return
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, pairs)


def main() -> None:
    """Runs what is missing, then prints the tables."""
    asked = options()
    folder = (asked.out or Path("build/zoo") / asked.backend).resolve()
    names = (asked.tools or ",".join(tool.name for tool in TOOLS)).split(",")
    usable = [tool for tool in TOOLS if tool.name in names and asked.backend in tool.backends]
    tools = [replace(tool, repairs=not asked.no_repair) for tool in usable]
    truths = chosen(asked.backend, asked.scripts, asked.sample)
    pairs = list(product(tools, truths))
    if asked.tables:
        pairs = [pair for pair in pairs if runs.kept(folder, *pair)]
    made = list(results(pairs, folder, asked.backend, asked.jobs))
    text = tables.report(made, {truth.script: truth.on(asked.backend) for truth in truths})
    (folder / "tables.md").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()

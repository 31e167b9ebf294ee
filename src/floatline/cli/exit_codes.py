"""What the exit status says, for scripts and continuous integration."""

from __future__ import annotations

from collections.abc import Mapping

from floatline.errors import EXIT_CLEAR, EXIT_COULD_NOT_RUN, EXIT_FOUND
from floatline.records import Verdict

EXIT_UNDECIDED = 3
EXIT_INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it."""

BY_VERDICT: Mapping[Verdict, int] = {
    "healthy": EXIT_CLEAR,
    "precision": EXIT_FOUND,
    "not-precision": EXIT_FOUND,
    "undecided": EXIT_UNDECIDED,
}

HELP = f"""\
\b
Exit status:
  {EXIT_CLEAR}    nothing is wrong (there may be advice)
  {EXIT_FOUND}    something is: the precision, or a fault that float32 has too
  {EXIT_COULD_NOT_RUN}    could not run: bad arguments, or the script fails by itself
  {EXIT_UNDECIDED}    undecided: the measurements do not tell
  {EXIT_INTERRUPTED}  interrupted with Ctrl-C"""
"""For `--help`; the first line keeps click from wrapping it."""

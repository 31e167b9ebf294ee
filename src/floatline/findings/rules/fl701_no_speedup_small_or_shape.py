"""FL701: no-speedup-small-or-shape."""

from __future__ import annotations

from typing import final

from floatline.findings.case import Case
from floatline.findings.products import BLOCK, Product, next_size, products
from floatline.findings.rule import Clear, Result, Rule
from floatline.findings.words import share, where

LEAST_WORK = 2**30
"""Multiplications and additions of one forward pass below which no kernel takes time that counts:
some microseconds on a GPU with tensor cores."""

LEAST_SIDE = 64
"""Shorter sides (ten classes, one regression target) cost nothing, however odd."""

LEAST_SHARE = 0.2
"""Share of the work of all products with weights from which a slower kernel slows the step."""


@final
class NoSpeedupSmallOrShape(Rule):
    """A large matrix product has a side that the tensor cores cannot take in whole blocks.

    What it means:
        Tensor cores multiply 16-bit numbers in blocks. Where a side of a weight matrix is no
        multiple of 8, a slower kernel runs, and half precision gains less than it could. Nor does
        it gain where most of the work stays in float32, or where every layer casts what the last
        gave.

    Evidence:
        The shapes of the matrices that the step multiplies by in half precision, and the share of
        the work of all such products that falls to those with an odd side.
        `floatline inspect` tells the same from the layers' shapes without a run, and also when most
        of the multiplications are in float32, and which float32 layers stand alone among others.

    Why it matters:
        Training is as right as before, and slower than it need be: on an H200 a float16 product of
        8192 x 768 by 768 x 50257 takes 5.1 ms, by 768 x 50264 it takes 1.1 ms.

    Remedy:
        Round the size up: a vocabulary of 50257 to 50264 (or 50304, which is a multiple of 64), a
        layer of 1000 units stays. The additional rows are never read.

    When it is harmless:
        Where no GPU with tensor cores runs the training, or something else takes the time.

    References:
        - NVIDIA, Train With Mixed Precision: shapes that use tensor cores.
        - tensorflow/tensorflow#34406: odd sizes, and no gain from mixed precision.
    """

    id = "FL701"
    cause = "no-speedup-small-or-shape"
    phase = "configuration"
    remedies = (
        "Round the size of the layer, or of the vocabulary, up to a multiple of 8.",
        "`floatline inspect` lists every layer whose shape misses the tensor cores.",
    )

    def check(self, case: Case) -> Result:
        """Looks at the shapes of the first traced step; says nothing about right or wrong."""
        trace = next(iter(case.evidence.traces), None)
        if trace is None:
            return Clear()
        found = products(trace)
        odd = [p for p in found if not p.fits and min(p.weight) >= LEAST_SIDE]
        work, total = sum(p.work for p in odd), sum(p.work for p in found)
        if work < LEAST_WORK or work < LEAST_SHARE * total:
            return Clear()
        return self._advice(max(odd, key=lambda p: p.work), work / total)

    def _advice(self, largest: Product, part: float) -> Result:
        side = next(side for side in largest.weight if side % BLOCK)
        rows, columns = largest.weight
        summary = (
            f"{where(largest.site.place)} multiplies by a matrix of {rows} x {columns}, and {side}"
            f" is no multiple of {BLOCK}: {share(part)} of the work of all products with weights"
            " cannot fill the tensor cores of a GPU"
        )
        evidence = {"size": side, "good_size": next_size(side), "share_of_work": part}
        return self.found(summary, evidence, place=largest.site.place, severity="advice")

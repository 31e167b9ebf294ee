"""Products that miss the tensor cores are advised about where they matter, and nowhere else."""

from __future__ import annotations

import pytest

from floatline.findings.judge import judge
from floatline.findings.products import products
from tests.findings.evidence import Sketch
from tests.findings.special import odd_vocabulary


def test_the_work_of_a_product_is_that_of_its_shapes() -> None:
    (product,) = products(odd_vocabulary(words=40, width=24, rows=8).traces[0])
    assert (product.weight, product.work) == ((24, 40), 2 * 8 * 24 * 40)


def test_advice_leaves_the_verdict_alone() -> None:
    judgement = judge(odd_vocabulary())
    (advice,) = judgement.findings
    assert (judgement.verdict, advice.rule, advice.severity) == ("healthy", "FL701", "advice")
    assert advice.evidence == {"size": 50257, "good_size": 50264, "share_of_work": 1.0}


@pytest.mark.parametrize(
    ("words", "rows"),
    [(50304, 512), (50257, 8), (10, 2**20)],
    ids=["whole blocks", "little work", "a short side"],
)
def test_what_fits_or_hardly_matters_gets_none(words: int, rows: int) -> None:
    assert judge(odd_vocabulary(words=words, rows=rows)).findings == ()


def test_products_in_float32_and_of_two_values_are_none() -> None:
    sketch = Sketch()
    weight = sketch.add("Read", role="parameter", dtype="float32", shape=(8, 9))
    value = sketch.add("Relu", shape=(4, 8))
    sketch.add("MatMul", value, weight, dtype="float32", shape=(4, 9))
    sketch.add("MatMul", value, sketch.add("Relu", shape=(8, 9)), shape=(4, 9))
    assert products(sketch.trace()) == ()

"""Products that PyTorch's autocast lowers: the change leaves autocast, and computes in float32."""

from __future__ import annotations

import linecache
from pathlib import Path

import pytest
import torch

from floatline.records import Finding, Place, SourceLine
from floatline.remedies.source import changes
from floatline.trials.editing import with_change

HEAD = "import torch\nfrom torch import nn\n\n\ndef scores(q, k, v=None):\n"


def changed(folder: Path, body: str, operation: str = "bmm", head: str = HEAD) -> str:
    """A function after the change that is proposed for the last line of its body."""
    file, text = folder / "model.py", head + body
    file.write_text(text, encoding="utf-8")
    linecache.checkcache(str(file))
    last = text.count("\n")
    place = Place(None, operation, "p", "forward", SourceLine(str(file), last))
    made = changes([Finding("FL107", "attention", "forward", "", {}, (), place)])
    return with_change({str(file): text}, made[0])[str(file)] if made else text


LEAVES = "    with torch.autocast({device}.device.type, enabled=False):\n"


@pytest.mark.parametrize(
    ("statement", "device", "then"),
    [
        ("return q @ k.mT / 8", "q", "return q.float() @ k.mT.float() / 8"),
        ("s = torch.bmm(q, k + 1)", "q", "s = torch.bmm(q.float(), (k + 1).float())"),
        ("s = q.matmul(k)", "q", "s = q.float().matmul(k.float())"),
        (
            'return torch.einsum("bid,bjd->bij", q, k)',
            "q",
            'return torch.einsum("bid,bjd->bij", q.float(), k.float())',
        ),
        ("s = torch.bmm(q @ k, v)", "q", "s = torch.bmm(q.float() @ k.float(), v.float())"),
        (
            "s = torch.bmm(\n        q,\n        k,\n    )",
            "q",
            "s = torch.bmm(\n            q.float(),\n            k.float(),\n        )",
        ),
    ],
)
def test_the_factors_are_cast_where_autocast_is_left(
    tmp_path: Path, statement: str, device: str, then: str
) -> None:
    after = changed(tmp_path, f"    {statement}\n")
    assert after == f"{HEAD}{LEAVES.format(device=device)}        {then}\n"


def test_what_is_written_computes_in_float32(tmp_path: Path) -> None:
    """A cast alone does not: autocast takes it back."""
    after = changed(tmp_path, "    return q @ k\n")
    names: dict[str, object] = {}
    exec(after, names)
    big = torch.full((2, 2), 300.0)
    with torch.autocast("cpu", dtype=torch.float16):
        assert (big.float() @ big.float()).isinf().all()
        assert names["scores"](big.half(), big.half()).tolist() == [[180000.0] * 2] * 2  # type: ignore[operator]


def test_a_factor_that_autocast_makes_overflow_is_no_cast_of_the_users(tmp_path: Path) -> None:
    after = changed(tmp_path, "    return torch.log(q @ k)\n", "_to_copy")
    assert "        return torch.log(q.float() @ k.float())\n" in after
    own = changed(tmp_path, "    return q.to(k.dtype) @ k\n", "_to_copy")
    assert own == f"{HEAD}    return q.to(torch.float32) @ k\n"
    assert "autocast" not in changed(tmp_path, "    return q + k\n", "_to_copy")


@pytest.mark.parametrize("operation", ["mul", "exp"])
def test_what_autocast_leaves_alone_is_only_cast(tmp_path: Path, operation: str) -> None:
    after = changed(tmp_path, "    return q * k\n", operation)
    assert "autocast" not in after
    assert "q = q.float()" in after


def test_a_layer_of_keras_casts_by_itself_and_is_left_alone(tmp_path: Path) -> None:
    head = f"import keras\n{HEAD}"
    assert "autocast" not in changed(tmp_path, "    return q @ k\n", head=head)

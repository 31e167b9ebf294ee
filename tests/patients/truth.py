"""What is true of every patient: its verdict, and the cause, phase and layer to be named first.

Each script in `scripts/` trains a small model as a user would write it. The folder says what
happens to it: `precision/` trains in float32 and fails (or is at risk) in its own precision,
`healthy/` trains as it stands, however suspicious it looks, and `float32/` fails in every
precision. The line to be named carries the comment `# <- culprit`; several lines may carry it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).parent / "scripts"
MARK = "# <- culprit"


@dataclass(frozen=True, slots=True)
class Truth:
    """Ground truth of one script.

    Attributes:
        script: Path below `scripts/`, without its suffix.
        causes: Root causes that may be named first; none for a healthy script.
        phases: Phases in which the first finding may arise; none when it does not matter.
        layers: Layers that the first finding may name; none when it does not matter. The empty
            name stands for no layer: a loss, or an optimizer.
        quick: Whether the script is one of the few that every test run examines.
    """

    script: str
    causes: tuple[str, ...] = ()
    phases: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    quick: bool = False

    @property
    def path(self) -> Path:
        """The script."""
        return SCRIPTS / f"{self.script}.py"

    @property
    def verdict(self) -> str:
        """The verdict that is true."""
        folder = self.script.partition("/")[0]
        return {"healthy": "healthy", "float32": "not-precision"}.get(folder, "precision")

    @property
    def lines(self) -> tuple[int, ...]:
        """Lines of the script that are marked as the culprit, counted from 1."""
        text = self.path.read_text(encoding="utf-8")
        return tuple(n for n, line in enumerate(text.splitlines(), 1) if MARK in line)


FORWARD, BACKWARD = ("forward",), ("backward",)

_FAILING = (
    Truth("precision/masked_attention", ("mask-constant-overflow",), FORWARD, ("attention",), True),
    Truth("precision/edge_masks", ("mask-constant-overflow",), FORWARD, ("attention",)),
    Truth("precision/batch_statistics", ("epsilon-underflow",), FORWARD, ("norm",)),
    Truth("precision/log_of_one_minus", ("one-minus-eps-rounding",)),
    Truth("precision/tanh_squash", ("one-minus-eps-rounding",), (), ("squash",)),
    Truth(
        "precision/instance_norm", ("norm-variance-overflow",), FORWARD, ("instance_norm",), True
    ),
    Truth("precision/dice", ("reduction-sum-overflow",), FORWARD),
    Truth("precision/gram_matrix", ("reduction-sum-overflow",), FORWARD, ("gram",)),
    Truth("precision/variational", ("exp-overflow",), FORWARD, ("kl",)),
    Truth("precision/residual_stream", ("activation-range-overflow",), FORWARD),
    Truth("precision/large_targets", ("input-or-target-out-of-range",), FORWARD, ("dense_1",)),
    Truth(
        "precision/offset_inputs", ("input-or-target-out-of-range",), FORWARD, ("normalization",)
    ),
    Truth(
        "precision/huge_inputs",
        ("input-or-target-out-of-range",),
        FORWARD,
        ("normalization", "sequential"),
    ),
    Truth(
        "precision/wide_inputs",
        ("norm-variance-overflow", "input-or-target-out-of-range"),
        FORWARD,
        ("normalization",),
    ),
    Truth("precision/large_activation", ("activation-range-overflow",), FORWARD, ("dense",)),
    Truth("precision/label_cast", ("integer-in-half",), FORWARD, (), True),
    Truth("precision/float_ids", ("integer-in-half",), FORWARD, ("lookup",)),
    Truth("precision/close_times", ("position-precision",), FORWARD, ("duration",)),
    Truth(
        "precision/standard_deviation",
        ("reduction-sum-overflow", "norm-variance-overflow"),
        FORWARD,
        ("spread",),
    ),
    Truth("precision/hand_softplus", ("exp-overflow",), FORWARD, ("softplus",)),
    Truth("precision/unscaled_loss", ("missing-loss-scaling",), BACKWARD, ("conv2d",)),
    Truth("precision/mixed_layers_only", ("missing-loss-scaling",), BACKWARD, ("conv2d",), True),
    Truth("precision/loop_without_scaling", ("missing-loss-scaling",), BACKWARD),
    Truth("precision/half_softmax", ("softmax-or-loss-in-half",), FORWARD, ("dense",)),
    Truth("precision/runaway_scale", ("loss-scale-overflow",), ("update",)),
    Truth("precision/attention_logits", ("attention-logit-overflow",), FORWARD, ("attention",)),
    Truth(
        "precision/log_spectrum", ("epsilon-underflow", "activation-underflow"), (), ("log_power",)
    ),
    Truth("precision/rotary_angles", ("position-precision",), FORWARD, ("waves",)),
    Truth("precision/scale_from_above", ("loss-scale-too-high",), ("update", "configuration")),
    Truth("precision/pure_float16", ("pure-float16-policy", "lost-small-update")),
    Truth("precision/adam_epsilon", ("epsilon-underflow", "pure-float16-policy")),
    Truth(
        "precision/row_sum", ("backward-only-overflow",), BACKWARD, ("row_normalized_dense",), True
    ),
    Truth("precision/activity_penalty", ("reduction-sum-overflow",), FORWARD, ("penalty",)),
    Truth("precision/unix_time", ("input-or-target-out-of-range",), FORWARD),
    Truth("precision/low_scale", ("loss-scale-too-low",), BACKWARD, ("conv2d",)),
    Truth("precision/bfloat16_ids", ("integer-in-half",), FORWARD, ("embed",)),
    Truth("precision/late_overflow", ("input-or-target-out-of-range",), FORWARD, ("price",)),
    Truth("precision/contrastive", ("exp-overflow",), FORWARD),
    Truth("precision/doubling_cell", ("activation-range-overflow",), FORWARD),
    Truth(
        "precision/empty_rows",
        ("epsilon-underflow",),
        FORWARD,
        ("unit",),
    ),
    Truth("precision/pooled_mask", ("mask-constant-overflow",), FORWARD),
    Truth("precision/gradient_penalty", ("reduction-sum-overflow", "second-order-gradient")),
    Truth("float32/nan_in_data", ("non-finite-data",), (), (), True),
    Truth("float32/inf_in_targets", ("non-finite-data",)),
    Truth("float32/learning_rate_too_high", ("diverges-in-float32",)),
    Truth("float32/momentum_diverges", ("diverges-in-float32",)),
    Truth("float32/root_at_zero", ("non-finite-in-float32",), (), ("length",)),
    Truth("float32/log_of_negative", ("non-finite-in-float32",), FORWARD, ("log",), True),
    Truth("float32/dead_relu", ("dead-gradients",), (), ("dense",)),
    Truth("float32/exploding_start", ("diverges-in-float32", "non-finite-in-float32")),
    Truth("float32/zero_by_zero", ("non-finite-in-float32",), FORWARD, ("average",)),
)

_QUICK_HEALTHY = ("added_mask", "summed_error", "three_steps")


def _healthy() -> Iterator[Truth]:
    for path in sorted((SCRIPTS / "healthy").glob("*.py")):
        yield Truth(f"healthy/{path.stem}", quick=path.stem in _QUICK_HEALTHY)


TRUTHS: tuple[Truth, ...] = (*_FAILING, *_healthy())
"""Every patient."""

"""The telling line of the errors that training raises."""

from __future__ import annotations

import pytest

from floatline.capture.failures import training_error
from floatline.headlines import MAX_LENGTH, condensed

OUT_OF_RANGE = """Graph execution error:

Detected at node compile_loss/SparseSoftmaxCrossEntropy defined at (most recent call last):
  File "train.py", line 12, in <module>

  File "/lib/keras/src/trainer.py", line 399, in fit

Received a label value of 12 which is outside the valid range of [0, 10).  Label values: 1 2 12
\t [[{{node compile_loss/SparseSoftmaxCrossEntropyWithLogits}}]] [Op:__inference_step_42]"""

LAYER = """Exception encountered when calling Sequential.call().

\x1b[1mInput 0 of layer "dense" is incompatible: expected 10, but received (None, 7)\x1b[0m

Arguments received by Sequential.call():
  • inputs=tf.Tensor(shape=(None, 7), dtype=float32)"""


QUOTED = """Exception encountered when calling Noise.call().

\x1b[1mCould not automatically infer the output shape / dtype of 'noise'. Error encountered:

Input 'y' of 'Mul' Op has type float32\x1b[0m

Arguments received by Noise.call():
  • args=([],)"""

CLASHES = """\
Input 'y' of 'Sub' Op has type float32 that does not match type float16 of argument 'x'.
Input 'predictions' of 'InTopKV2' Op has type float16 that does not match expected type of float32.
Cannot convert a list containing a tensor of dtype <dtype: 'float16'> to <dtype: 'float32'> (...)
cannot compute Mul as input #1(zero-based) was expected to be a half tensor but is a float tensor
mat1 and mat2 must have the same dtype, but got Half and Float
expected scalar type Half but found Float
lax.dot_general requires arguments to have equal dtypes, got float16, float32.""".splitlines()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            OUT_OF_RANGE,
            "Received a label value of 12 which is outside the valid range of [0, 10).",
        ),
        (
            LAYER,
            'Input 0 of layer "dense" is incompatible: expected 10, but received (None, 7)',
        ),
        (f"ValueError: {LAYER}", condensed(ValueError(LAYER))),
        (QUOTED, "Input 'y' of 'Mul' Op has type float32"),
        (
            "expected a float tensor but is a half tensor [Op:AddV2] name: ",
            "expected a float tensor but is a half tensor",
        ),
        ("plain", "plain"),
        ("", "ValueError"),
    ],
)
def test_the_telling_line_is_found(text: str, line: str) -> None:
    assert condensed(ValueError(text)) == line


def test_long_lines_are_cut() -> None:
    assert len(condensed(ValueError("x" * 10_000))) == MAX_LENGTH


def test_says_what_to_do() -> None:
    error = training_error(ValueError(OUT_OF_RANGE), "Training")
    assert error.message.startswith("Training raised ValueError: Received a label value of 12")
    assert "Labels count from 0" in error.advice


@pytest.mark.parametrize("text", CLASHES)
def test_where_two_dtypes_meet_a_cast_is_advised(text: str) -> None:
    assert "dtypes meet" in training_error(TypeError(text)).advice


def test_labels_of_the_wrong_type_are_no_clash() -> None:
    error = training_error(RuntimeError("expected scalar type Long but found Float"))
    assert "dtypes meet" not in error.advice


def test_names_the_users_line() -> None:
    with pytest.raises(TypeError) as caught:
        raise TypeError(CLASHES[0])
    assert training_error(caught.value).message.endswith(
        f"(at {__file__}:{caught.traceback[-1].lineno + 1})"
    )


def test_an_unknown_error_gets_advice_too() -> None:
    assert "Correct it" in training_error(RuntimeError("odd")).advice


def test_an_error_that_nan_brings_about_points_to_the_precision() -> None:
    error = training_error(RuntimeError("all elements of input should be between 0 and 1"))
    assert "--precision float32" in error.advice

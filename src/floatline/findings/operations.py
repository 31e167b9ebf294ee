"""What the operations of TensorFlow, JAX and PyTorch do, by name."""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal[
    "add",
    "bound",
    "cast",
    "convolution",
    "divide",
    "exponential",
    "log",
    "matmul",
    "multiply",
    "norm",
    "normalization",
    "other",
    "power",
    "reduction",
    "root",
    "sigmoid",
    "softmax",
    "spectrum",
    "square",
    "subtract",
    "trigonometric",
    "unscale",
]

_NAMES: dict[Kind, str] = {
    "add": "add biasadd",
    "bound": "minimum maximum min max clipbyvalue clamp clampmin clampmax",
    "cast": "cast convertelementtype tocopy",
    "convolution": "conv conv1d conv2d conv3d convolution convgeneraldilated"
    " depthwiseconv2dnative conv2dbackpropinput conv2dbackpropfilter",
    "divide": "realdiv div divide truediv divnonan xdivy reciprocal inv addcdiv",
    "exponential": "exp expm1 exp2 sinh cosh softplus",
    "log": "log log1p log2 xlogy xlog1py",
    "matmul": "matmul batchmatmul einsum dotgeneral mm bmm addmm baddbmm linear xlaeinsum",
    "multiply": "mul multiply",
    "norm": "norm linalgvectornorm",
    "normalization": "fusedbatchnorm layernorm nativelayernorm nativebatchnorm",
    "power": "pow",
    "reduction": "sum mean cumsum addn reducesum reducemean prod reduceprod cumprod logsumexp"
    " euclideannorm cumulativelogsumexp segmentsum unsortedsegmentsum reducewindowsum avgpool"
    " std var varmean nansum",
    "root": "sqrt rsqrt",
    "sigmoid": "sigmoid logistic",
    "softmax": "softmax logsoftmax softmaxcrossentropywithlogits"
    " sparsesoftmaxcrossentropywithlogits",
    # Complex numbers are no values of a trace on TensorFlow and JAX: the first that is one of their
    # parts stands for them.
    "spectrum": "real imag complexabs angle fftr2c fftc2c fftc2r",
    "square": "square squareddifference integerpow",
    "subtract": "sub subtract rsub",
    "trigonometric": "sin cos tan",
    "unscale": "ampforeachnonfinitecheckandunscale",
}
_KINDS: dict[str, Kind] = {name: kind for kind, names in _NAMES.items() for name in names.split()}


def kind(operation: str) -> Kind:
    """The kind of an operation; versions and punctuation in its name do not matter.

    Example:

    >>> kind("BatchMatMulV2"), kind("dot_general"), kind("aten.bmm.default")
    ('matmul', 'matmul', 'matmul')
    >>> kind("Relu")
    'other'
    """
    name = operation.removeprefix("aten::").removeprefix("aten.").removeprefix("_foreach_")
    name = re.sub(r"v\d+$", "", name.split(".")[0].lower().replace("_", ""))
    return _KINDS.get(name, "other")

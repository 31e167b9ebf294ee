"""Vectors as the code under test measures them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from floatline.backends.tensorflow.recorder import KERNELS
from floatline.records import Statistics
from floatline.tracing.decoding import decode
from floatline.tracing.statistics import (
    ROW,
    Pack,
    Segments,
    count_differing,
    least_normal,
    measure,
)
from tests.tracing.vectors import Lanes, in_rows


def measured(found: Lanes, dtype: str, sizes: Sequence[int] | None = None) -> Pack:
    """The pack that the code under test gives, on the host."""
    least = least_normal(dtype)
    if sizes is None:
        computed, shadow, local = (tf.constant(lane) for lane in found)
        pack = measure(computed, shadow, local, least, None, KERNELS)
        integers = dtype.startswith("int")
        return on_host(count_differing(pack, computed, shadow) if integers else pack)
    rows = [-(-size // ROW) for size in sizes]
    numbers = tf.constant(np.repeat(np.arange(len(sizes)), rows), tf.int32)
    segments = Segments(numbers, tf.constant(sizes, tf.int32), len(sizes))
    computed, shadow, local = (tf.constant(in_rows(lane, sizes)) for lane in found)
    thresholds = tf.fill([len(sizes)], least)
    return on_host(measure(computed, shadow, local, thresholds, segments, KERNELS))


def on_host(pack: Pack) -> Pack:
    """A pack as arrays."""
    return Pack(*(np.asarray(tf.convert_to_tensor(part)) for part in pack))


def statistics(found: Lanes, dtype: str, sizes: Sequence[int] | None = None) -> list[Statistics]:
    """The statistics that the code under test gives."""
    return decode(measured(found, dtype, sizes))

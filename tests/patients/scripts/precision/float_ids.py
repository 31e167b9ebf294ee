"""Row numbers that travel in a float tensor and are looked up after the cast."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")

random = np.random.default_rng(2)
table = random.normal(size=8000)
ids = random.integers(0, 256, 2048) * 2 + 4097
features = np.stack([ids, random.normal(size=2048)], axis=1).astype("float32")
target = (table[ids] + 0.1 * features[:, 1]).astype("float32")[:, None]


class Lookup(keras.layers.Layer):
    """A trained number per row, times nothing, plus the other feature."""

    def build(self, input_shape):
        self.rows = self.add_weight(shape=(8000,), initializer="zeros", name="rows")

    def call(self, inputs):
        ids = tf.cast(inputs[:, 0], tf.int32)  # <- culprit
        return tf.stack([tf.gather(self.rows, ids), inputs[:, 1]], axis=1)


data = tf.data.Dataset.from_tensor_slices((features, target)).batch(64)
inputs = keras.Input((2,))
looked_up = Lookup(name="lookup")(inputs)  # <- culprit
model = keras.Model(inputs, keras.layers.Dense(1)(looked_up))
model.compile(keras.optimizers.Adam(5e-2), "mse")
model.fit(data, epochs=8, verbose=0)

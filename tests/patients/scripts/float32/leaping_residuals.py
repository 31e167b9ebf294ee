"""A learning rate of 50: the first update throws the loss to 1e11, and it never comes back."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(77)
keras.config.set_dtype_policy("mixed_float16")


def block(t, f, name):
    s = t
    t = layers.Conv2D(f, 3, padding="same", activation="relu", name=name + "_a")(t)
    t = layers.Conv2D(f, 3, padding="same", name=name + "_b")(t)
    return layers.ReLU(name=name + "_out")(layers.Add(name=name + "_add")([t, s]))


i = keras.Input((16, 16, 3))
t = layers.Conv2D(8, 3, padding="same", name="stem")(i)
for n in range(3):
    t = block(t, 8, f"res{n}")
t = layers.GlobalAveragePooling2D()(t)
o = layers.Dense(4, dtype="float32", name="logits")(t)
model = keras.Model(i, o)
rng = np.random.default_rng(0)
y = rng.integers(0, 4, 512)
x = rng.normal(size=(512, 16, 16, 3)).astype("float32") + y[:, None, None, None] * 0.5
model.compile(
    keras.optimizers.SGD(learning_rate=50.0, momentum=0.9),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
model.fit(x, y, batch_size=32, epochs=3, verbose=0)

"""An image classifier whose policy is set too late: healthy, but it trains in float32."""

import keras
import numpy as np

keras.utils.set_random_seed(7)

random = np.random.default_rng(7)
images = random.random((128, 28, 28, 1), dtype="float32")
labels = random.integers(0, 10, (128,))

model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        keras.layers.Conv2D(32, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
keras.config.set_dtype_policy("mixed_float16")
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
model.fit(images, labels, batch_size=32, epochs=5, verbose=0)

"""A deep sigmoid network, mixed precision by layer: without loss scaling its gradients vanish."""

import keras
import numpy as np

keras.utils.set_random_seed(7)

random = np.random.default_rng(7)
x = random.random((256, 16), dtype="float32")
y = random.random((256, 1), dtype="float32")

# The policy is given to each layer. Keras adds loss scaling only when the model's own policy is
# mixed_float16, and the model's own policy here is float32.
model = keras.Sequential(
    [
        keras.Input((16,)),
        *(keras.layers.Dense(32, activation="sigmoid", dtype="mixed_float16") for _ in range(12)),
        keras.layers.Dense(1, dtype="float32"),
    ]
)
model.compile(optimizer="sgd", loss="mse")
model.fit(x, y, batch_size=32, epochs=5, verbose=0)

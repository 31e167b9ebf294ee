"""A convolutional network with batch normalisation, pooling and dropout, fed by a PyDataset."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
keras.config.set_dtype_policy("mixed_float16")


class Shapes(keras.utils.PyDataset):
    """Noisy images with a bright row or a bright column."""

    def __len__(self):
        return 16

    def __getitem__(self, index):
        random = np.random.default_rng(index)
        images = random.normal(size=(32, 16, 16, 1)).astype("float32") * 0.3
        labels = random.integers(0, 2, 32)
        for image, label in zip(images, labels, strict=True):
            line = random.integers(0, 16)
            image[(slice(None), line) if label else line] += 1
        return images, labels


model = keras.Sequential([keras.Input((16, 16, 1))])
for filters in (8, 16):
    model.add(layers.Conv2D(filters, 3, padding="same", use_bias=False))
    model.add(layers.BatchNormalization())
    model.add(layers.ReLU())
    model.add(layers.MaxPooling2D())
model.add(layers.Flatten())
model.add(layers.Dropout(0.3))
model.add(layers.Dense(2, activation="softmax"))
model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(Shapes(workers=1), epochs=8, verbose=0)

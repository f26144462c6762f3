"""Keras' `fit` with lrwatch's callback. Beside it: `lrwatch run --mode auto runs/keras_fit`.

Any backend does, and any schedule. The logs get the rate that was used, as `lrwatch/lr`.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np

import lrwatch

keras.utils.set_random_seed(0)
x = np.random.default_rng(0).standard_normal((512, 8)).astype("float32")
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
watch = lrwatch.keras.LrwatchCallback("runs/keras_fit/lrwatch")
history = model.fit(x, x.sum(1, keepdims=True), batch_size=32, epochs=5, verbose=0, callbacks=[watch])

print(f"{model.optimizer.iterations.numpy()} steps, final loss {history.history['loss'][-1]:.4f}")

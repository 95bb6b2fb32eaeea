"""What the converter's refusal says."""

import pytest
import tensorflow as tf
import tf_keras as keras

from export.converter import convert_keras
from nas_tf.base.errors import UserError


@pytest.mark.parametrize(
    "error,reason", [(RuntimeError("first line\nsecond"), "first line"), (KeyError, "KeyError")]
)
def test_a_refusal_is_told_by_its_first_line(monkeypatch, error, reason):
    def refuse(self):
        raise error

    monkeypatch.setattr(tf.lite.TFLiteConverter, "convert", refuse)
    x = keras.Input((4, 4, 3))
    model = keras.Model(x, keras.layers.Conv2D(2, 1)(x))
    with pytest.raises(UserError) as refused:
        convert_keras(model, "float32", "float32", quantized=False)
    assert str(refused.value) == f"TensorFlow Lite could not convert the model: {reason}"

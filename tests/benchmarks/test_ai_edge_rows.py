"""Rows of AI Edge Quantizer: skipped in one sentence without it; with it, used as its authors mean it."""

import importlib.util

import numpy as np
import pytest

from benchmarks import ai_edge_rows

PACKAGE = "ai_edge_quantizer"
installed = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason="ai-edge-quantizer is not installed"
)


def test_without_the_package_a_sentence_says_how_to_get_it(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == PACKAGE else found(name))
    reason = ai_edge_rows.unavailable()
    assert "pip install '.[peers]'" in reason and reason.endswith(".") and reason.count(". ") == 0
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert ai_edge_rows.unavailable() == ""


@pytest.fixture(scope="module", name="images")
def _images():
    """Network inputs in batches of 5 and 4, whose extremes differ from image to image."""
    random = np.random.default_rng(2)
    images = random.uniform(-1, 1, (9, 8, 8, 3)) * random.uniform(0.1, 1, (9, 1, 1, 1))
    return [images[:5].astype(np.float32), images[5:].astype(np.float32)]


@pytest.fixture(scope="module", name="content")
def _content():
    """A float file: a convolution whose channels differ a hundredfold, a depthwise one, pooling, logits."""
    import tf_keras as keras

    from export.converter import convert_keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.GlobalAveragePooling2D(keepdims=True),
            layers.Conv2D(4, 1),
            layers.Flatten(),
        ]
    )
    for layer in (model.layers[0], model.layers[1]):
        kernel = layer.get_weights()[0]
        shape = (1, 1, 1, 6) if kernel.shape[3] == 6 else (1, 1, 6, 1)
        layer.set_weights([kernel * np.logspace(-1, 1, 6).reshape(shape), layer.get_weights()[1]])
    return convert_keras(model, "float32", "float32", quantized=False)


def _tensors(content, images, quantize):
    from quant import flatbuffer

    graph = flatbuffer.parse(quantize(content, images), "quantized model").main
    kernels = [
        graph.tensors[operator.inputs[1]]
        for operator in graph.operators
        if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D")
    ]
    return graph, graph.tensors[graph.inputs[0]], kernels


@installed
def test_kernels_are_symmetric_and_by_channel_and_all_is_int8(content, images):
    graph, _, kernels = _tensors(content, images, ai_edge_rows.moving_average)
    assert [len(kernel.scales) for kernel in kernels] == [6, 6, 4]
    for kernel in kernels:
        assert kernel.dtype == "int8" and not np.asarray(kernel.zero_points).any()
    assert {tensor.dtype for tensor in graph.tensors} <= {"int8", "int32"}
    # By channel, scales follow the channels' sizes.
    assert max(kernels[1].scales) > 30 * min(kernels[1].scales)


def _range(tensor):
    scale, zero = float(tensor.scales[0]), int(tensor.zero_points[0])
    return (-128 - zero) * scale, (127 - zero) * scale


@installed
def test_ranges_are_of_every_calibration_image(content, images):
    """The input's range follows from the images alone: the average, decay 0.95, or the extremes."""
    lows = [image.min() for batch in images for image in batch]
    highs = [image.max() for batch in images for image in batch]
    averages = []
    for values in (lows, highs):
        average = values[0]
        for value in values[1:]:
            average = 0.95 * average + 0.05 * value
        averages.append(average)
    for quantize, wanted in (
        (ai_edge_rows.moving_average, averages),
        (ai_edge_rows.extremes, (min(lows), max(highs))),
    ):
        _, source, _ = _tensors(content, images, quantize)
        step = float(source.scales[0])
        assert step == pytest.approx((wanted[1] - wanted[0]) / 255, rel=1e-3)
        # Zero is a whole number of steps, which moves both ends by up to half of one.
        np.testing.assert_allclose(_range(source), wanted, atol=0.51 * step)

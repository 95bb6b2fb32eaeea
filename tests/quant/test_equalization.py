"""Equalization keeps the float function and evens out the channels."""

import numpy as np
import pytest
import tf_keras as keras

from quant.equalization import channel_gains, equalize, find_streams
from quant.rewrite import rewrite


@pytest.fixture()
def folded(float_network):
    """The float network with batch norm folded."""
    return rewrite(float_network)[0]


def test_the_function_stays(folded, images):
    before = folded(images).numpy()
    gains = equalize(folded, [images])
    assert any(np.any(gain > 1) for gain in gains.values())
    # ReLU6 may cut what calibration images do not show; on the calibration images, nothing.
    np.testing.assert_allclose(folded(images), before, rtol=1e-4, atol=1e-4)


def test_streams_of_the_network(folded):
    streams = {s.tensors: s for s in find_streams(folded)}
    depthwise = streams[("block1_expand_relu",)]
    assert depthwise.producers == ("block1_expand_conv",)
    assert depthwise.consumers == ("block1_depthwise_conv",) and depthwise.limit == 6.0
    residual = next(s for t, s in streams.items() if "block2_add" in t)
    assert set(residual.producers) == {"block1_project_conv", "block2_project_conv"}
    assert set(residual.consumers) == {"block2_expand_conv", "head_conv"}
    assert residual.limit is None
    # The first block adds the stem's ReLU6 output, and pooling reads the head's: left alone.
    tensors = {name for group in streams for name in group}
    assert not tensors & {"block0_add", "stem_relu", "head_relu", "pool", "logits"}


def test_channels_before_a_depthwise_convolution_fill_the_range(folded, images):
    observe = keras.Model(folded.input, folded.get_layer("block1_expand_relu").output)
    before = np.max(observe(images), axis=(0, 1, 2)).astype(np.float64)
    equalize(folded, [images])
    after = np.max(observe(images), axis=(0, 1, 2))
    expected = np.where(before > 1e-6, np.clip(5.4, before, 16 * before), before)
    np.testing.assert_allclose(after, expected, rtol=1e-4)


def test_gains():
    peak = np.array([6.0, 2.7, 0.54, 0.0, 0.01])
    # limit 6 with headroom 0.9: 5.4 / peak, between 1 and 16; a dead channel stays
    assert channel_gains(peak, 6.0, 1.0) == pytest.approx([1.0, 2.0, 10.0, 1.0, 16.0])
    assert channel_gains(np.array([4.0, 1.0]), None, 0.5) == pytest.approx([1.0, 2.0])

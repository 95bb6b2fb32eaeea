"""Pixels become input values: exact tables, and what does not fit."""

import numpy as np
import pytest

from export.input_scaling import InputTensor, Normalization, decide
from nas_tf.base.errors import UserError
from nas_tf.data.preprocess import to_network_input

PIXELS = np.arange(256)
OURS = Normalization((128.0,), (128.0,), "ours")
IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "flags")


def test_our_float_input_is_what_the_network_was_trained_on():
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    found = decide(InputTensor("float32"), None, OURS, "m")(images)
    assert found.dtype == np.float32 and (found == to_network_input(images).numpy()).all()


@pytest.mark.parametrize(
    "scale, zero_point", [(1 / 128, 128), (1 / 255, 0), (1.0, 0), (0.0, 0), (1 / 127.5, 127)]
)
@pytest.mark.parametrize("own", [None, OURS])
def test_an_integer_input_gets_the_pixels_whatever_its_scale(scale, zero_point, own):
    unsigned = decide(InputTensor("uint8", scale, zero_point), None, own, "m")
    signed = decide(InputTensor("int8", scale, zero_point - 128), None, own, "m")
    assert (unsigned.table == PIXELS[:, None]).all() and unsigned.table.dtype == np.uint8
    assert (signed.table == PIXELS[:, None] - 128).all() and signed.table.dtype == np.int8


@pytest.mark.parametrize(
    "given, scale, zero_point", [(Normalization((0.0,), (255.0,), "flags"), 1 / 255, 0), (OURS, 1 / 128, 128)]
)
def test_a_scale_that_undoes_the_normalization_gives_pixels(given, scale, zero_point):
    assert (decide(InputTensor("uint8", scale, zero_point), given, None, "m").table == PIXELS[:, None]).all()


def test_means_by_channel_go_through_the_tensors_own_scale():
    """q = round((p − mean) / std / scale) + zero point, for three values by hand."""
    scaling = decide(InputTensor("int8", 0.02, -15), IMAGENET, None, "m")
    # (255 − 123.675) / 58.395 / 0.02 = 112.45; (0 − 116.28) / 57.12 / 0.02 = −101.79;
    # (0 − 103.53) / 57.375 / 0.02 = −90.22.
    assert scaling.table[255, 0] == 97 and scaling.table[0, 1] == -117
    assert scaling.table[0, 2] == -105
    assert "clipped" not in scaling.reason and scaling.table.dtype == np.int8


def test_what_lies_beyond_the_tensors_range_is_clipped_and_counted():
    # Two pixels a step, from 0: the upper half of the 256 steps is not used.
    half = decide(InputTensor("uint8", 2 / 255, 0), Normalization((0,), (255,), "flags"), None, "m")
    assert half.table[:5, 0].tolist() == [0, 0, 1, 2, 2]  # halves round to even
    over = decide(InputTensor("uint8", 0.5 / 255, 0), Normalization((0,), (255,), "flags"), None, "m")
    assert over.table[127:130, 0].tolist() == [254, 255, 255]
    assert "; 128 of 256 pixel values are clipped" in over.reason


def test_a_normalization_that_does_not_fit_the_tensor_is_refused():
    pixels = Normalization((0.0,), (1.0,), "flags")
    with pytest.raises(
        UserError,
        match=r"\(pixel - 0\) / 1 of flags does not fit the uint8 input of "
        "the model 'm' .*: the 256 pixel values would become 2 there",
    ):
        decide(InputTensor("uint8", 1 / 255, 0), pixels, None, "m")
    with pytest.raises(UserError, match="has no scale, so flags cannot be put on its grid"):
        decide(InputTensor("uint8"), pixels, None, "m")


def test_flags_beside_what_the_file_says():
    given = Normalization((127.5,), (127.5,), "flags")
    scaling = decide(InputTensor("float32"), given, OURS, "m")
    assert scaling.reason == "from flags (ours would be (pixel - 128) / 128)"
    assert scaling.table[0, 0] == -1 and scaling.table[255, 2] == 1

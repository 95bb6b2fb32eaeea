"""Other people's files: which numbers their inputs get, and what is refused."""

import dataclasses
import zipfile

import numpy as np
import pytest
from PIL import Image

from export import tflite_metadata
from export.evaluate_config import EvaluateConfig
from export.evaluate_run import facts_for_people
from export.model_accuracy import evaluate_model
from nas_tf.base.errors import UserError
from nas_tf.data.config import DataConfig
from tests.export import foreign_models as foreign

NAMES = ("a", "b", "c", "d")
IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
# Networks that read [0, 1], [−1, 1], [0, 255], and by ImageNet's means.
KINDS = {"unit": ([0.0], [255.0]), "half": ([127.5], [127.5]), "pixels": ([0.0], [1.0]), "imagenet": IMAGENET}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight images of each brightness, at most 20 grey levels around it."""
    root, random = tmp_path_factory.mktemp("brightness"), np.random.default_rng(0)
    for name, centre in zip(NAMES, foreign.CENTRES):
        (root / "test" / name).mkdir(parents=True)
        for index in range(8):
            noise = random.integers(-20, 21, (foreign.SIDE, foreign.SIDE, 3))
            Image.fromarray((centre + noise).astype(np.uint8)).save(root / "test" / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def config(folder):
    return EvaluateConfig(DataConfig(str(folder)), num_workers=1)


@pytest.fixture(scope="module")
def floats(tmp_path_factory):
    """Float files by the key of `KINDS`."""
    root = tmp_path_factory.mktemp("floats")
    return {
        kind: foreign.float_file(root / f"{kind}.tflite", foreign.nearest_brightness(*scaling))
        for kind, scaling in KINDS.items()
    }


def asked(config, mean, std):
    return dataclasses.replace(config, input_mean=tuple(mean), input_std=tuple(std))


@pytest.mark.parametrize("kind", KINDS)
def test_float_inputs_get_what_the_flags_say(kind, floats, config):
    summary = evaluate_model(floats[kind], asked(config, *KINDS[kind]))
    assert summary["top1"] == 1.0
    assert "--input_mean" in summary["input_scaling"]["reason"]
    assert "pixel" in facts_for_people(summary)["input"]


def test_a_wrong_scaling_is_seen_by_these_networks(floats, config):
    """Else the tests above would show nothing."""
    for kind in ("unit", "pixels"):
        assert evaluate_model(floats[kind], asked(config, [128], [128]))["top1"] <= 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_float_inputs_get_what_the_metadata_say(kind, floats, config, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(floats[kind].read_bytes())
    foreign.with_metadata(path, foreign.metadata(*KINDS[kind]))
    summary = evaluate_model(path, config)
    assert summary["top1"] == 1.0
    assert "TFLite metadata of 'm.tflite'" in summary["input_scaling"]["reason"]


def test_flags_come_before_metadata_and_say_so(floats, config, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(floats["unit"].read_bytes())
    foreign.with_metadata(path, foreign.metadata([0.0], [1.0]))
    summary = evaluate_model(path, asked(config, ["0"], ["255"]))
    assert summary["top1"] == 1.0
    assert summary["input_scaling"]["reason"].endswith(
        "(the TFLite metadata of 'm.tflite' would be (pixel - 0) / 1)"
    )


def test_a_float_input_of_which_nothing_is_known_is_refused(floats, config):
    with pytest.raises(
        UserError,
        match="unit.tflite' takes float32, and nothing in the file says "
        "how pixels are scaled; give --input_mean and --input_std",
    ):
        evaluate_model(floats["unit"], config)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("kind", ["unit", "half", "pixels"])
def test_integer_inputs_get_the_pixels(kind, dtype, config, tmp_path):
    path = foreign.integer_file(
        tmp_path / "m.tflite", foreign.nearest_brightness(*KINDS[kind]), *KINDS[kind], dtype
    )
    summary = evaluate_model(path, config)
    assert summary["top1"] == 1.0 and summary["input_type"] == dtype
    assert summary["input_scaling"]["formula"] == {"uint8": "pixel", "int8": "pixel - 128"}[dtype]
    assert summary["input_scaling"]["reason"] == f"the input is {dtype}"
    # The same by its own scale: one mean and one std are undone by it.
    assert evaluate_model(path, asked(config, *KINDS[kind]))["top1"] == 1.0


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_integer_inputs_with_means_by_channel(dtype, config, tmp_path):
    """Channels so far apart that pixels as they are would be wrong."""
    apart = ([40.0, 128.0, 200.0], [40.0, 64.0, 128.0])
    path = foreign.integer_file(tmp_path / "m.tflite", foreign.nearest_brightness(*apart), *apart, dtype)
    without = evaluate_model(path, config)
    assert without["top1"] <= 0.5
    # From (0 - 128) / 64 to (255 - 40) / 40.
    reason = without["input_scaling"]["reason"]
    assert "range of -2 to 5.38 is that of no usual scaling" in reason and "--input_mean" in reason
    by_flags = evaluate_model(path, asked(config, *apart))
    assert (
        by_flags["top1"] == 1.0 and f"the {dtype} input's own scale" in (by_flags["input_scaling"]["reason"])
    )
    foreign.with_metadata(path, foreign.metadata(*apart))
    by_metadata = evaluate_model(path, config)
    assert by_metadata["top1"] == 1.0 and "TFLite metadata" in by_metadata["input_scaling"]["reason"]


def test_a_range_like_that_of_imagenets_means_gets_a_word(config, tmp_path):
    path = foreign.integer_file(
        tmp_path / "m.tflite", foreign.nearest_brightness(*IMAGENET), *IMAGENET, "int8"
    )
    reason = evaluate_model(path, config)["input_scaling"]["reason"]
    assert "looks like ImageNet's means" in reason and "--input_mean=123.675,116.28,103.53" in reason


def test_open_sizes_need_a_resolution(config, tmp_path):
    path = foreign.float_file(tmp_path / "m.tflite", foreign.nearest_brightness([0], [255], None))
    config = asked(config, [0], [255])
    with pytest.raises(UserError, match=r"\[1, -1, -1, 3\], a size that the file leaves open"):
        evaluate_model(path, config)
    summary = evaluate_model(path, dataclasses.replace(config, resolution=foreign.SIDE))
    assert summary["top1"] == 1.0 and summary["resolution"] == foreign.SIDE


def test_one_open_side_needs_a_resolution_too(config, tmp_path):
    sides = (foreign.SIDE, None)
    path = foreign.float_file(tmp_path / "m.tflite", foreign.nearest_brightness([0], [255], sides))
    with pytest.raises(UserError, match=rf"\[1, {foreign.SIDE}, -1, 3\], a size that the file leaves open"):
        evaluate_model(path, asked(config, [0], [255]))


def test_an_open_batch_is_one_image(config, tmp_path):
    path = foreign.float_file(tmp_path / "m.tflite", foreign.nearest_brightness([0], [255]), None)
    config = asked(config, [0], [255])
    assert evaluate_model(path, config)["top1"] == 1.0
    with pytest.raises(UserError, match="--resolution=9 does not fit it"):
        evaluate_model(path, dataclasses.replace(config, resolution=9))


def test_inputs_that_are_no_rgb_image(config, tmp_path):
    import tf_keras as keras

    path = foreign.float_file(tmp_path / "m.tflite", foreign.nearest_brightness(0, 255, 8, 1))
    with pytest.raises(UserError, match=r"float32 \[1, 8, 8, 1\], not three channels; needed is one square"):
        evaluate_model(path, config)
    image = keras.Input((3, 8, 8))
    flat = keras.layers.Dense(4)(keras.layers.Flatten()(image))
    foreign.float_file(path, keras.Model(image, flat))
    with pytest.raises(UserError, match=r"\[1, 3, 8, 8\], channels first \(NCHW\)"):
        evaluate_model(path, config)
    other = keras.Input((8, 8, 3))
    two = keras.layers.Dense(4)(keras.layers.Flatten()(keras.layers.Add()([other, other])))
    model = keras.Model(other, [two, keras.layers.Softmax()(two)])
    foreign.float_file(path, model)
    with pytest.raises(UserError, match="has 1 inputs and 2 outputs; a classifier has one of each"):
        evaluate_model(path, config)


def test_labels_that_the_metadata_name_are_matched(floats, config, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(floats["unit"].read_bytes())
    foreign.with_metadata(path, foreign.metadata([0.0], [255.0], "names.txt"))
    unnamed = evaluate_model(path, config)
    assert unnamed["top1"] == 1.0 and "does not name the classes" in unnamed["class_names"]
    # A network that calls its darkest class "d" is right on no image of "a".
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("names.txt", "d\nc\nb\na\n")
    summary = evaluate_model(path, config)
    assert summary["top1"] == 0.0 and "4 of 4 were matched by name" in summary["class_names"]


def test_metadata_as_they_are_read(floats, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(floats["unit"].read_bytes())
    assert tflite_metadata.read(path).mean == ()
    foreign.with_metadata(path, foreign.metadata(*IMAGENET, "names.txt"))
    found = tflite_metadata.read(path)
    np.testing.assert_allclose([found.mean, found.std], IMAGENET, rtol=1e-6)
    assert found.label_file == "names.txt"


@pytest.mark.parametrize(
    "mean, std, units, message",
    [
        ([0.0, 0.0], [1.0], 1, r"The mean of the TFLite metadata of 'm.tflite' is \[0, 0\]; needed is"),
        ([0.485], [0.229], 1, "The std of the TFLite metadata .* is 0.229; it is meant in pixel units"),
        ([float("nan")], [1.0], 1, "is nan; needed is one number"),
        ([0.0], [1.0], 2, "cannot be used: it normalizes the input 2 times"),
    ],
)
def test_metadata_that_make_no_sense(mean, std, units, message, floats, config, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(floats["unit"].read_bytes())
    foreign.with_metadata(path, foreign.metadata(mean, std, units=units))
    with pytest.raises(UserError, match=message):
        evaluate_model(path, config)


def test_damaged_metadata_end_in_one_sentence_or_in_numbers(floats, tmp_path):
    """Every byte of the metadata is changed once; nothing but a `UserError` may come out."""
    content = foreign.metadata(*IMAGENET, "names.txt")
    path = tmp_path / "m.tflite"
    path.write_bytes(floats["unit"].read_bytes())
    foreign.with_metadata(path, content)
    whole = path.read_bytes()
    start = whole.index(content)
    refused = 0
    for place in range(start, start + len(content)):
        broken = bytearray(whole)
        broken[place] ^= 0xFF
        path.write_bytes(broken)
        try:
            tflite_metadata.read(path)
        except UserError:
            refused += 1
    assert refused > len(content) // 5


@pytest.mark.parametrize(
    "mean, std, message",
    [
        (["0"], [], "Give both --input_mean and --input_std, or neither"),
        (["a"], ["1"], "--input_mean=a and --input_std=1 must be numbers in pixel units"),
        (["0", "1"], ["255"], r"mean of --input_mean and --input_std is \[0, 1\]; needed is one number"),
        (["0.485", "0.456", "0.406"], ["0.229", "0.224", "0.225"], "to be multiplied by 255"),
        (["0"], ["0"], "The std .* is 0; it is meant in pixel units"),
    ],
)
def test_flags_that_make_no_sense(mean, std, message, floats, config):
    with pytest.raises(UserError, match=message):
        evaluate_model(floats["unit"], asked(config, mean, std))

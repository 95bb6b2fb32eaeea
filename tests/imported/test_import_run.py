"""The import as a whole: the reference's logits, and every tensor accounted for."""

import json
import pathlib

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.imported import proxyless_config, weights
from nas_tf.imported.import_run import ImportConfig, build, run_import
from nas_tf.network import model_folder
from tests.imported import torch_writer
from tests.imported.test_proxyless_config import small_config

PUBLISHED = "proxyless-w0.3-r176_imagenet"


_CONVOLUTIONS = {  # of `small_config`: name → shape of the PyTorch kernel
    "first_conv": (8, 3, 3, 3),
    "blocks.0.mobile_inverted_conv.depth_conv": (8, 1, 3, 3),
    "blocks.0.mobile_inverted_conv.point_linear": (8, 8, 1, 1),
    "blocks.2.mobile_inverted_conv.inverted_bottleneck": (24, 8, 1, 1),
    "blocks.2.mobile_inverted_conv.depth_conv": (24, 1, 5, 5),
    "blocks.2.mobile_inverted_conv.point_linear": (16, 24, 1, 1),
    "feature_mix_layer": (24, 16, 1, 1),
}


def random_tensors(seed=0):
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in _CONVOLUTIONS.items():
        tensors[f"{name}.conv.weight"] = rng.normal(0, 0.4, shape)
        for part in ("weight", "bias", "running_mean"):
            tensors[f"{name}.bn.{part}"] = rng.normal(0.3, 0.4, shape[0])
        tensors[f"{name}.bn.running_var"] = rng.uniform(1e-4, 1, shape[0])
        tensors[f"{name}.bn.num_batches_tracked"] = np.array(9)
    tensors["classifier.linear.weight"] = rng.normal(size=(5, 24))
    tensors["classifier.linear.bias"] = rng.normal(size=5)
    return {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in tensors.items()}


def convolve(x, kernel, stride):
    """PyTorch's Conv2d with padding k // 2 on [C,H,W]; depthwise if the kernel has one input."""
    outputs, inputs, k, _ = kernel.shape
    padded = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    size = (x.shape[1] + 2 * (k // 2) - k) // stride + 1
    result = np.zeros((outputs, size, size))
    for i in range(size):
        for j in range(size):
            patch = padded[:, i * stride : i * stride + k, j * stride : j * stride + k]
            if inputs == 1:
                result[:, i, j] = (patch * kernel[:, 0]).sum(axis=(1, 2))
            else:
                result[:, i, j] = np.tensordot(kernel, patch, 3)
    return result


def reference_logits(tensors, image, epsilon=1e-5):
    """`small_config`'s network in numpy, from PyTorch's definitions."""

    def layer(x, name, stride=1, relu=True):
        x = convolve(x, tensors[f"{name}.conv.weight"].astype(np.float64), stride)
        gamma, beta, mean, variance = (
            tensors[f"{name}.bn.{part}"].astype(np.float64)[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        x = gamma * (x - mean) / np.sqrt(variance + epsilon) + beta
        return np.clip(x, 0, 6) if relu else x

    x = layer(image.transpose(2, 0, 1), "first_conv", 2)
    block = "blocks.0.mobile_inverted_conv"
    x = x + layer(layer(x, f"{block}.depth_conv"), f"{block}.point_linear", relu=False)
    block = "blocks.2.mobile_inverted_conv"
    x = layer(x, f"{block}.inverted_bottleneck")
    x = layer(x, f"{block}.depth_conv", 2)
    x = layer(layer(x, f"{block}.point_linear", relu=False), "feature_mix_layer")
    return tensors["classifier.linear.weight"] @ x.mean(axis=(1, 2)) + (tensors["classifier.linear.bias"])


@pytest.fixture(name="files")
def files_fixture(tmp_path):
    """(configuration, checkpoint) of a small network with random weights."""
    config, checkpoint = tmp_path / "net.json", tmp_path / "net.pth"
    config.write_text(json.dumps(small_config()))
    checkpoint.write_bytes(torch_writer.zip_bytes({"state_dict": torch_writer.as_views(random_tensors())}))
    return str(config), str(checkpoint)


@pytest.mark.parametrize("scaling", ["half", "imagenet"])
@pytest.mark.parametrize("resolution", [16, 17])
def test_any_input_scaling_is_folded_exactly(files, scaling, resolution):
    """Borders included: their zero padding is not our zero."""
    network, tensors = proxyless_config.read_config(files[0]), random_tensors()
    model, _ = build(network, tensors, scaling, resolution)
    pixels = np.random.default_rng(1).integers(0, 256, (2, resolution, resolution, 3))
    mean, std = {"half": (0.5, 0.5), "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])}[scaling]
    logits = model((pixels.astype(np.float32) - 128) / 128).numpy()
    for image, ours in zip(pixels, logits):
        theirs = reference_logits(tensors, (image / 255 - np.array(mean)) / np.array(std))
        np.testing.assert_allclose(ours, theirs, atol=2e-4, rtol=1e-4)


def test_half_is_the_scaling_of_the_published_networks():
    half = weights.SCALINGS["half"]
    ours = (np.arange(256) - 128) / 128
    np.testing.assert_allclose(
        half.slope()[0] * ours + half.offset()[0], np.arange(256) / 127.5 - 1, atol=1e-15
    )
    np.testing.assert_allclose(half.zero(), -1 / 256)


def test_folder_goes_on_like_a_trained_one(files, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\ne\n")
    config = ImportConfig(*files, "half", labels=str(labels))
    summary = run_import(str(tmp_path / "run"), config)
    assert summary["params"] == sum(
        v.size for k, v in random_tensors().items() if "running" not in k and "num_" not in k
    )
    assert (summary["resolution"], summary["resize_size"]) == (32, 37)  # 32 · 256 / 224
    model, description = model_folder.load_float_model(summary["model"])
    assert description.labels == ("a", "b", "c", "d", "e") and description.named
    unnamed = run_import(str(tmp_path / "numbered"), ImportConfig(*files, "half"))
    description = model_folder.read_description(unnamed["model"])
    assert description.labels == ("0", "1", "2", "3", "4") and not description.named
    assert description.architecture.padding == "symmetric"
    image = np.random.default_rng(3).integers(0, 256, (32, 32, 3))
    ours = model((image[None].astype(np.float32) - 128) / 128).numpy()[0]
    np.testing.assert_allclose(
        ours, reference_logits(random_tensors(), image / 127.5 - 1), atol=2e-4, rtol=1e-4
    )
    assert run_import(str(tmp_path / "run"), config) == summary


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop("classifier.linear.bias"), "has no tensor 'classifier.linear.bias'"),
        (lambda t: t.update({"extra.weight": np.ones(2, np.float32)}), "1 tensors .*'extra.weight'"),
        (
            lambda t: t.update({"first_conv.conv.weight": np.ones((8, 3, 5, 5), np.float32)}),
            r"'first_conv.conv.weight' .*shape \[8, 3, 5, 5\].*needs \[8, 3, 3, 3\]",
        ),
        (lambda t: t["feature_mix_layer.bn.bias"].fill(np.nan), "not finite"),
        (lambda t: t["feature_mix_layer.bn.running_var"].fill(-1), "variance .*negative"),
    ],
)
def test_every_tensor_must_fit(files, tmp_path, change, message):
    tensors = random_tensors()
    change(tensors)
    pathlib.Path(files[1]).write_bytes(torch_writer.legacy_bytes(torch_writer.as_views(tensors)))
    with pytest.raises(UserError, match=message):
        run_import(str(tmp_path / "run"), ImportConfig(*files, "half"))
    assert not (tmp_path / "run" / "train" / "model").exists()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"resize_size": 16}, "resize_size=16 is smaller than the resolution 32"),
        ({"input_scaling": "tanh"}, "input_scaling='tanh' is not one of"),
        ({"labels": "absent.txt"}, "Cannot read the label file 'absent.txt'"),
    ],
)
def test_settings_are_checked_before_work(files, tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        run_import(str(tmp_path / "run"), ImportConfig(*files, **{"input_scaling": "half", **settings}))
    assert not (tmp_path / "run").exists()


def test_a_label_file_of_another_length(files, tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match="has 2 lines; the network has 5 classes"):
        run_import(str(tmp_path / "run"), ImportConfig(*files, "half", labels=str(tmp_path / "labels.txt")))


@pytest.fixture(name="published", scope="module")
def published_fixture(shared_data, tmp_path_factory):
    """Model folder of the published network with its ImageNet weights."""
    source = shared_data / "proxylessnas" / PUBLISHED
    return run_import(
        str(tmp_path_factory.mktemp("published")), ImportConfig(f"{source}.json", f"{source}.pth", "half")
    )


def test_published_network_gives_the_reference_logits(shared_data, published):
    assert published["params"] == 754_280 and published["resize_size"] == 201
    reference = np.load(shared_data / "proxylessnas" / f"{PUBLISHED}_reference_logits.npz")
    model, _ = model_folder.load_float_model(published["model"])
    logits = model((reference["images"].astype(np.float32) - 128) / 128).numpy()
    assert np.abs(logits - reference["logits"]).max() < 1e-3


@pytest.mark.slow
def test_published_network_reaches_the_reference_accuracy(shared_data, published):
    """The authors' implementation: 62.75 % of the 400 images."""
    from export.evaluate_config import EvaluateConfig
    from export.model_accuracy import evaluate_model
    from nas_tf.data.config import DataConfig

    data = DataConfig(dataset="imagenet2012", data_dir=str(shared_data / "tfds"))
    summary = evaluate_model(published["model"], EvaluateConfig(data=data, split="validation"))
    assert summary["num_examples"] == 400
    assert abs(summary["top1"] - 0.6275) <= 0.005 + 1e-9  # two images of 400

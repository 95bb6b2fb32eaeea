"""A small network, float and fake-quantized, in folders and converted."""

import numpy as np
import pytest

LABELS = ("apple", "bear", "chair", "dog")
ARCHITECTURE = "s8x2 1_3c8 3_3c16x2 h16"
RESOLUTION = 16


@pytest.fixture(scope="session", name="noise_images")
def noise_images_fixture():
    """`noise_images(count, seed)`: uint8 images [count, 16, 16, 3]."""
    return _noise_images


def _noise_images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, RESOLUTION, RESOLUTION, 3)).astype(np.uint8)


@pytest.fixture(scope="session")
def float_folder(tmp_path_factory):
    """Model folder of the float network, its batch norms and biases away from their start."""
    import tf_keras as keras

    from nas_tf.network import model_folder
    from nas_tf.network.build import build_network
    from nas_tf.space.architecture import from_string

    keras.utils.set_random_seed(1)
    architecture = from_string(ARCHITECTURE)
    model = build_network(architecture, RESOLUTION, len(LABELS))
    x = (_noise_images(32).astype(np.float32) - 128) / 128
    for _ in range(20):
        model(x, training=True)
    kernel, bias = model.get_layer("logits").weights
    kernel.assign(kernel * 50)
    bias.assign([0.4, -0.3, 0.1, -0.29])
    folder = tmp_path_factory.mktemp("float") / "model"
    model_folder.save_model(
        folder,
        model,
        model_folder.ModelDescription("float", architecture, RESOLUTION, len(LABELS), LABELS, 18),
    )
    return folder


@pytest.fixture(scope="session", name="save_quantized")
def save_quantized_fixture(float_folder):
    """`save_quantized(folder, change)`: quantizes, calibrates and saves the float network,
    after `change(float_model)`."""
    return lambda folder, change: _save_quantized(float_folder, folder, change)


def _save_quantized(float_folder, folder, change=None):
    from nas_tf.network import model_folder
    from quant import ranges, scheme
    from quant.model import quantized_description

    model, description = model_folder.load_float_model(float_folder)
    if change:
        change(model)
    qat_model, rewritten, _ = scheme.quantize(model)
    ranges.calibrate(rewritten, qat_model, [(_noise_images(32).astype(np.float32) - 128) / 128])
    model_folder.save_model(folder, qat_model, quantized_description(description))
    return folder


@pytest.fixture(scope="session")
def qat_folder(float_folder, tmp_path_factory):
    """Model folder of the calibrated fake-quantized network."""
    return _save_quantized(float_folder, tmp_path_factory.mktemp("qat") / "model")


@pytest.fixture(scope="session")
def converted(qat_folder, tmp_path_factory):
    """(workdir, summary) of an int8 conversion with background."""
    from export.convert_run import ConvertConfig, run_convert

    workdir = tmp_path_factory.mktemp("converted")
    return workdir, run_convert(str(workdir), ConvertConfig(model=str(qat_folder)))

"""A small network with lively batch norms, and its fake-quantized form."""

import numpy as np
import pytest

ARCHITECTURE = "s8x2 1_3c8 3_3c16x2 3_5c16 h24"
RESOLUTION, CLASSES = 16, 5


def random_images(count: int, seed: int = 0) -> np.ndarray:
    """float32 network inputs [count, 16, 16, 3] on the int8 grid."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, RESOLUTION, RESOLUTION, 3))
    return ((pixels - 128) / 128).astype(np.float32)


@pytest.fixture(scope="session", name="random_images")
def random_images_fixture():
    """`random_images(count, seed)`: other network inputs of the same kind."""
    return random_images


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """24 network inputs."""
    return random_images(24)


@pytest.fixture(scope="session")
def float_network():
    """Network whose batch norms change what passes through them."""
    import tf_keras as keras

    from nas_tf.network.build import build_network
    from nas_tf.space.architecture import from_string

    keras.utils.set_random_seed(3)
    network = build_network(from_string(ARCHITECTURE), RESOLUTION, CLASSES)
    random = np.random.default_rng(1)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape
            layer.set_weights(
                [
                    random.uniform(0.5, 2, size),
                    random.normal(0, 0.3, size),
                    random.normal(0, 0.3, size),
                    random.uniform(0.5, 2, size),
                ]
            )
    return network


@pytest.fixture(scope="session")
def description():
    """What `float_network` is."""
    from nas_tf.network.model_folder import ModelDescription
    from nas_tf.space.architecture import from_string

    return ModelDescription(
        "float", from_string(ARCHITECTURE), RESOLUTION, CLASSES, tuple("abcde"), RESOLUTION
    )


@pytest.fixture(scope="session")
def quantized_once(float_network):
    """(fake-quantized network, folded float network), and the weights that they began with."""
    from quant import scheme

    qat_model, folded, _ = scheme.quantize(float_network)
    return qat_model, folded, qat_model.get_weights(), folded.get_weights()


@pytest.fixture()
def quantized(quantized_once, images):
    """(fake-quantized network with min/max ranges, folded float network), as if just made."""
    from quant import ranges

    qat_model, folded, qat_weights, folded_weights = quantized_once
    qat_model.set_weights(qat_weights)
    folded.set_weights(folded_weights)
    ranges.calibrate(folded, qat_model, [images])
    return qat_model, folded


@pytest.fixture(scope="session")
def unset_model(float_network):
    """The fake-quantized network whose ranges nobody has set."""
    from quant import scheme

    return scheme.quantize(float_network)[0]


@pytest.fixture(scope="session")
def converted(float_network, images):
    """(fake-quantized network on its integer grid, its int8 file's bytes)."""
    from export.converter import convert_keras
    from quant import bias, ranges, scheme

    qat_model, folded, _ = scheme.quantize(float_network)
    ranges.calibrate(folded, qat_model, [images])
    bias.round_to_grid(qat_model)
    return qat_model, convert_keras(qat_model, "uint8", "uint8", quantized=True)

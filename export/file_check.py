"""Whether a converted file computes what its network does, on images, before it is called done.

Checks of the file's integers (`export.convert_checks`) see what they look for. This one sees
whatever else the converter does, for it compares answers: it clips a bias beyond 32 bits, and a bias
that is one number for all channels gets the first channel's scale.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from nas_tf.base.errors import require
from nas_tf.base.interpreter import DEFAULT_KERNELS, open_interpreter
from quant import int8
from quant.comparison import snr_db

NUM_IMAGES = 16
# Weights are on their grid, and the simulation adds in integers and rescales by the kernels' own
# formula, so nothing should differ; another machine's kernels may turn a few exact ties.
_MAX_DIFFERING = 1e-3
_MIN_FLOAT_SNR_DB = 60.0  # between two ways of adding in float32, measured over 100
# The published network's graph is 29.4 dB from its file with no fault in either.
_MIN_GRAPH_SNR_DB = 20.0  # where there is no integer form: rounding errors that have parted


def compare_with_network(content: bytes, network: Any, quantized: bool) -> dict[str, Any]:
    """Runs the file and the network that it was made of on synthetic images.

    Images need not be photographs for that: what is compared is arithmetic and not accuracy.

    Args:
      content: the flatbuffer, with input [1,R,R,3].
      network: the Keras model converted, background included.
      quantized: whether the network has fake quantizers.

    Returns:
      checked_images; checked_kernels, which ran the file; checked_agreement, the share with the
      same answer; checked_differing, the share of logits that differ (of an integer file, by a step
      or more); checked_snr_db, None where nothing differs.

    Raises:
      UserError: they differ by more than their arithmetic explains.
    """
    from nas_tf.data.preprocess import to_network_input

    images = synthetic_images(NUM_IMAGES, int(network.inputs[0].shape[1]))
    reference, step, exact = _reference(network, quantized)
    expected = np.asarray(reference(to_network_input(images), training=False))
    found = run_file(content, images)
    # NaN is neither more nor less than anything, so it has to be asked for.
    finite = bool(np.isfinite(expected).all() and np.isfinite(found).all())
    # Integer logits are multiples of `step`, so half of one tells equal from different; 0 for float.
    differing = float(np.mean(np.abs(found - expected) > step / 2))
    noise = snr_db(expected, found)
    facts = {
        "checked_images": NUM_IMAGES,
        "checked_kernels": DEFAULT_KERNELS,
        "checked_differing": differing,
        "checked_agreement": float(np.mean(found.argmax(1) == expected.argmax(1))),
        "checked_snr_db": noise if np.isfinite(noise) else None,
    }
    enough = _MIN_GRAPH_SNR_DB if quantized else _MIN_FLOAT_SNR_DB
    close = differing <= _MAX_DIFFERING if exact else noise >= enough
    require(
        finite and close,
        f"The converted file does not compute what its network does: on {NUM_IMAGES} "
        f"synthetic images {differing:.2%} of the logits differ "
        f"({noise:.1f} dB), and {facts['checked_agreement']:.0%} of the answers agree; "
        "nothing was written. The converter made something else of it: python -m quant.parity "
        "shows at which layer.",
    )
    return facts


def _reference(network: Any, quantized: bool) -> tuple[Callable, float, bool]:
    """(what the file should compute, step of its logits, whether to the bit)."""
    if not quantized:
        return network, 0.0, False
    from quant.integer_model import IntegerModel, simulation
    from quant.quantizer_list import activation_ranges

    simulated = simulation(network)
    # The last range is that of the logits.
    return simulated, activation_ranges(network)[-1].scale, isinstance(simulated, IntegerModel)


def run_file(content: bytes, images: np.ndarray) -> np.ndarray:
    """Logits float32 [N, classes] of uint8 images [N,R,R,3], by the default kernels."""
    interpreter = open_interpreter(content, "converted model", DEFAULT_KERNELS)
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    logits = []
    for image in images:
        interpreter.set_tensor(source["index"], _as_input(image, source["dtype"])[np.newaxis])
        interpreter.invoke()
        logits.append(interpreter.get_tensor(sink["index"]).reshape(-1).astype(np.float32))
    scale, zero_point = sink["quantization"]
    return (np.stack(logits) - zero_point) * np.float32(scale or 1.0)  # a float output has none


def _as_input(image: np.ndarray, dtype: type) -> np.ndarray:
    if dtype == np.float32:
        from nas_tf.data.preprocess import to_network_input

        return to_network_input(image).numpy()
    return int8.pixels_as(image, dtype.__name__)


def synthetic_images(count: int, side: int, seed: int = 0) -> np.ndarray:
    """Images uint8 [count, side, side, 3] of coloured blobs of every size, and of noise.

    Photographs have most of their power in low frequencies; noise alone would leave much of a
    network at zero.
    """
    random = np.random.default_rng(seed)
    images = []
    for index in range(count):
        cells = int(random.integers(2, 13))
        spread = _linear(cells, side)
        blobs = np.einsum("ia,jb,abc->ijc", spread, spread, random.uniform(-1, 1, (cells, cells, 3)))
        noise = random.uniform(-1, 1, (side, side, 3)) * (index % 4) / 3
        values = 128 + 127 * random.uniform(0.3, 1.5) * (blobs + 0.5 * noise)
        images.append(np.clip(np.round(values), 0, 255).astype(np.uint8))
    return np.stack(images)


def _linear(cells: int, side: int) -> np.ndarray:
    """Weights [side, cells] of linear interpolation from `cells` points to `side` pixels."""
    places = np.linspace(0, cells - 1, side)
    return np.maximum(0.0, 1.0 - np.abs(places[:, np.newaxis] - np.arange(cells)))

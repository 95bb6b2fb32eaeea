"""What a fine-tuning says against its own result, with what to change."""

from collections.abc import Mapping

import numpy as np

from nas_tf.base.errors import require
from nas_tf.train import chance
from nas_tf.train.accuracy import AccuracyCounter

_SHOWN = 3
_FLOAT_ADVICE = "train it longer, or at a lower --learning_rate, in another --workdir"
_QUANTIZED_ADVICE = (
    "use more --finetune_calibration_images, of the images that the network was trained on, or a lower "
    "--finetune_learning_rate, in another --workdir"
)


def dead_tensors(ranges: Mapping[str, tuple[float, float]]) -> list[str]:
    """Layers whose output was 0 on all calibration images, from the range (minimum, maximum) of each."""
    return [name for name, (low, high) in ranges.items() if low == high == 0.0]


def require_alive(ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raises `UserError` if nothing reaches the classifier: its file would hold no grid to compute on.

    Args:
      ranges: (minimum, maximum) of each layer's output on the calibration images, in order; the last is the
        classifier's.
    """
    before = list(ranges)[:-1]
    require(
        not before or before[-1] not in dead_tensors(ranges),
        f"The float network is dead: the output of {_named(dead_tensors(ranges))} is 0 on all calibration "
        f"images, so all images get the same answer; {_FLOAT_ADVICE}.",
    )


def _named(layers: list[str]) -> str:
    more = len(layers) - _SHOWN
    return ", ".join(layers[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def warning(
    ranges: Mapping[str, tuple[float, float]], reference: np.ndarray, logits: np.ndarray, labels: np.ndarray
) -> dict[str, str]:
    """An entry `warning` for the summary, or nothing.

    Args:
      ranges: of each layer's output, from calibration.
      reference, logits: of the float and of the quantized network, [N, classes].
      labels: [N].
    """
    said = []
    dead = dead_tensors(ranges)
    if dead:
        said.append(
            f"the output of {_named(dead)} is 0 on all calibration images, so nothing passes there: the "
            f"float network has died in part; {_FLOAT_ADVICE}"
        )
    of_float, of_quantized = AccuracyCounter(), AccuracyCounter()
    of_float.add(reference, labels)
    of_quantized.add(logits, labels)
    # Quantization is not to blame for what its float network does not know.
    found = chance.warning("top-1 of the float network", of_float, _FLOAT_ADVICE) or chance.warning(
        "top-1 after quantization", of_quantized, _QUANTIZED_ADVICE
    )
    said += found.values()
    return {"warning": "; also, ".join(said)} if said else {}

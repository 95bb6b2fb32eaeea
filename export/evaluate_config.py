"""What an evaluation is asked to do, as plain data. Imports no TensorFlow."""

import dataclasses

from nas_tf.base.interpreter import DEFAULT_KERNELS
from nas_tf.data import config as data_config
from nas_tf.data.config import DataConfig
from nas_tf.data.resize_methods import CONTRACT


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Settings of an evaluation.

    Attributes:
      data: where the images are; its `resize_size` of 0 means a model folder's own, or the
        default for the model's resolution.
      model: a `.tflite` file or a model folder of ours; "" means the run's converted file.
      split: TFDS split syntax; "" means `data.eval_split`, or its default.
      batch_size: images decoded, and for model folders computed, at once.
      num_workers: interpreters of a `.tflite` file; 0: one per core.
      kernels: of a `.tflite` file, of `nas_tf.base.interpreter.KERNELS`: their rounding differs.
      input_mean, input_std: in pixel units, one or three numbers (or their text), for a
        `.tflite` file: x = (pixel − mean) / std; () for what the file says.
      resolution: side of the input of a `.tflite` file that leaves it open; 0: not given.
      resize_method: of `nas_tf.data.resize_methods.METHODS`: how images are brought to the input's size.
    """

    data: DataConfig
    model: str = ""
    split: str = ""
    batch_size: int = 64
    num_workers: int = 0
    # TFLite's default. Its built-in kernels round twice, and the two agree on 95 % of the images only.
    kernels: str = DEFAULT_KERNELS
    input_mean: tuple[str | float, ...] = ()
    input_std: tuple[str | float, ...] = ()
    resolution: int = 0
    resize_method: str = CONTRACT


# Of the stage's settings, those that runs of earlier versions do not hold: their defaults.
NEWER = data_config.NEWER | {
    name: getattr(EvaluateConfig, name) for name in ("input_mean", "input_std", "resolution", "resize_method")
}

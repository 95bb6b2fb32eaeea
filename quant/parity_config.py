"""What a parity run is asked to do, as plain data. Imports no TensorFlow."""

import dataclasses

from nas_tf.base.interpreter import KERNELS
from nas_tf.data.config import DataConfig

RUNTIMES = tuple(reversed(KERNELS))  # XNNPACK, what phones run, is the default


@dataclasses.dataclass(frozen=True)
class ParityConfig:
    """Settings of a comparison.

    Attributes:
      model: folder of the fine-tuned (qat) model.
      tflite: the file converted from it.
      num_images: of the evaluation split.
      runtime: whose kernels run the file.
    """

    model: str
    tflite: str
    data: DataConfig
    num_images: int = 32
    runtime: str = RUNTIMES[0]

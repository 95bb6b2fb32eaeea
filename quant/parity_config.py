"""What a parity run is asked to do, as plain data. Imports no TensorFlow."""

import dataclasses

from nas_tf.base.interpreter import DEFAULT_KERNELS, KERNELS
from nas_tf.data.config import DataConfig

# The default first.
RUNTIMES = (DEFAULT_KERNELS, *(kernels for kernels in KERNELS if kernels != DEFAULT_KERNELS))


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

"""What a fine-tuning run is asked to do, as plain data. Imports no TensorFlow."""

import dataclasses

from nas_tf.data.config import Augmentation, DataConfig

RANGE_METHODS = ("minmax", "percentile", "mse")


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """Settings of quantization-aware fine-tuning.

    Attributes:
      model: folder of the float model; empty: `<workdir>/train/model`.
      steps: optimizer steps; 0 sets the ranges and trains nothing.
      learning_rate: of Adam, at the start of its cosine decay.
      distillation: share of the loss that comes from the float network's outputs, in
        [0, 1]; the rest comes from the labels.
      range_method: how ranges are set from float activations: minmax, percentile or mse.
      calibration_images: how many training images set the ranges.
      frozen_share: share of the steps, at the end, in which ranges no longer move.
      seed: of the order and augmentation of images.
    """

    data: DataConfig
    augmentation: Augmentation
    model: str = ""
    steps: int = 300
    batch_size: int = 32
    learning_rate: float = 3e-5
    distillation: float = 1.0
    range_method: str = "mse"
    calibration_images: int = 512
    frozen_share: float = 0.5
    seed: int = 0

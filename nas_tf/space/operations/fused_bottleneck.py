"""The fused bottleneck of EfficientNet-EdgeTPU and EfficientNetV2."""

from nas_tf.space.operations.bottleneck import Bottleneck
from nas_tf.space.operations.operation import Convolution


class FusedBottleneck(Bottleneck):
    """k×k convolution that expands, 1×1 linear projection (Gupta and Tan, 2019; Tan and Le, 2021).

    More multiply-adds than an inverted bottleneck, and no depthwise convolution: faster where
    channels are few and the image is large.
    """

    layer_name = "fused_conv"
    grammar = "'Fexpansion_kernel' with expansion 1-9 and kernel 1, 3, 5 or 7"
    prefix, label = "F", "FMB"

    def convolutions(self, input_width: int, output_width: int, stride: int) -> tuple[Convolution, ...]:
        """Expansion, projection."""
        hidden = input_width * self.expansion
        return (
            Convolution("expand", self.kernel, input_width, hidden, stride),
            Convolution("project", 1, hidden, output_width, activation=False),
        )

"""Two convolutions with an activation each, as MobileNetV4 begins."""

from nas_tf.space.operations.bottleneck import Bottleneck
from nas_tf.space.operations.operation import Convolution, fits_shortcut


class ConvolutionPair(Bottleneck):
    """k×k convolution, 1×1 convolution (Qin et al., 2024, MobileNetV4-Conv-S before its bottlenecks).

    A fused bottleneck whose output is activated, so it is for blocks without a shortcut.
    """

    layer_name = "conv_pair"
    grammar = "'Cexpansion_kernel' with expansion 1-9 and kernel 1, 3, 5 or 7"
    prefix, label = "C", "Conv"

    def convolutions(self, input_width: int, output_width: int, stride: int) -> tuple[Convolution, ...]:
        """Both."""
        hidden = input_width * self.expansion
        return (
            Convolution("expand", self.kernel, input_width, hidden, stride),
            Convolution("project", 1, hidden, output_width),
        )

    def misfit(self, input_width: int, output_width: int, stride: int) -> str:
        """What a shortcut adds to is a linear output."""
        if not fits_shortcut(stride, input_width, output_width):
            return ""
        return "its output is not linear, so no shortcut can be added to it"

"""The inverted bottleneck of MobileNetV2 and ProxylessNAS."""

from nas_tf.space.operations.bottleneck import Bottleneck
from nas_tf.space.operations.operation import Convolution


class InvertedBottleneck(Bottleneck):
    """1×1 expansion, depthwise k×k, 1×1 linear projection (Sandler et al., 2018)."""

    layer_name = "expanded_conv"  # as in the published latency table
    grammar = "'expansion_kernel' with expansion 1-9 and kernel 1, 3, 5 or 7"
    prefix, label = "", "MB"

    def convolutions(self, input_width: int, output_width: int, stride: int) -> tuple[Convolution, ...]:
        """Expansion (none where it is 1), depthwise, projection."""
        hidden = input_width * self.expansion
        expand = (Convolution("expand", 1, input_width, hidden),) if self.expansion > 1 else ()
        return (
            *expand,
            Convolution("depthwise", self.kernel, hidden, hidden, stride, depthwise=True),
            Convolution("project", 1, hidden, output_width, activation=False),
        )

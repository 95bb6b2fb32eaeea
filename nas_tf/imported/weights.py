"""Fills our network with the tensors of a published one.

PyTorch stores a convolution kernel as [out, in/groups, h, w]; Keras as [h, w, in, out], or
[h, w, channels, 1] for a depthwise one.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from nas_tf.base.errors import UserError, require

if TYPE_CHECKING:
    import tf_keras as keras

_COUNTER = "num_batches_tracked"  # bookkeeping of PyTorch's batch norm; not a weight


@dataclasses.dataclass(frozen=True)
class InputScaling:
    """What the published network was fed: (uint8 / 255 − mean) / std, each [3] in RGB."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def slope(self) -> np.ndarray:
        """`a` [3] of their input = a · ours + b, where ours = (uint8 − 128) / 128."""
        return 128 / 255 / np.array(self.std)

    def offset(self) -> np.ndarray:
        """`b` [3] of their input = a · ours + b."""
        return (128 / 255 - np.array(self.mean)) / np.array(self.std)

    def zero(self) -> np.ndarray:
        """Our value [3] of what is 0 in their input: the padding of their images, −b / a."""
        return -self.offset() / self.slope()


SCALINGS = {
    "half": InputScaling((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # uint8 / 127.5 − 1
    "imagenet": InputScaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class StateDict:
    """Named tensors, each of which must be taken exactly once."""

    def __init__(self, tensors: dict[str, np.ndarray], where: str):
        # Some files keep the prefix of a data-parallel wrapper.
        self._left = {name.removeprefix("module."): values for name, values in tensors.items()}
        self._where = where

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """The tensor `name` as float32, which must be finite and have this shape."""
        require(name in self._left, f"The {self._where} has no tensor {name!r}.")
        # Taken out, so that `finish` can name what nothing took.
        values = self._left.pop(name)
        require(
            values.shape == tuple(shape),
            f"The tensor {name!r} of the {self._where} has the shape {list(values.shape)}; "
            f"the configuration needs {list(shape)}.",
        )
        require(
            bool(np.isfinite(values).all()),
            f"The tensor {name!r} of the {self._where} has values that are not finite.",
        )
        return values.astype(np.float32)

    def finish(self) -> None:
        """Raises `UserError` naming the tensors that nothing took."""
        left = [name for name in self._left if not name.endswith(_COUNTER)]
        if left:
            raise UserError(
                f"The {self._where} has {len(left)} tensors that the configuration "
                f"does not use, the first {left[0]!r}."
            )


def fill(
    model: "keras.Model",
    state: StateDict,
    bn_epsilon: float,
    scaling: InputScaling,
    drop_first: bool = False,
) -> None:
    """Copies every tensor into `model`, folding the input scaling into the first layer.

    `drop_first`: their classifier has one class more, the first, which is left out.
    """
    _fill_convolution(model, "stem", state, "first_conv", bn_epsilon)
    names = {layer.name for layer in model.layers}
    # "block12_expand_conv" is a layer of block 12; skipped blocks have none, so numbers have gaps.
    blocks = sorted({int(n.split("_")[0][5:]) for n in names if n.startswith("block")})
    for index in blocks:
        prefix = f"blocks.{index}.mobile_inverted_conv"
        for ours, theirs in (
            ("expand", "inverted_bottleneck"),
            ("depthwise", "depth_conv"),
            ("project", "point_linear"),
        ):
            if f"block{index}_{ours}_conv" in names:
                _fill_convolution(model, f"block{index}_{ours}", state, f"{prefix}.{theirs}", bn_epsilon)
    _fill_convolution(model, "head", state, "feature_mix_layer", bn_epsilon)
    kernel, bias = model.get_layer("logits").weights
    first = int(drop_first)
    outputs, width = int(kernel.shape[-1]) + first, int(kernel.shape[-2])
    rows = state.take("classifier.linear.weight", (outputs, width))[first:]
    kernel.assign(rows.T[None, None])  # the classifier is a 1×1 convolution
    bias.assign(state.take("classifier.linear.bias", (outputs,))[first:])
    state.finish()
    fold_scaling(model, scaling)


def _fill_convolution(model: "keras.Model", ours: str, state: StateDict, theirs: str, epsilon: float) -> None:
    (kernel,) = model.get_layer(f"{ours}_conv").weights
    height, width, inputs, outputs = kernel.shape
    if "depthwise" in ours:
        values = state.take(f"{theirs}.conv.weight", (inputs, 1, height, width))
        kernel.assign(values.transpose(2, 3, 0, 1))
    else:
        values = state.take(f"{theirs}.conv.weight", (outputs, inputs, height, width))
        kernel.assign(values.transpose(2, 3, 1, 0))
    norm = model.get_layer(f"{ours}_bn")
    gamma, beta, mean, variance = (
        state.take(f"{theirs}.bn.{name}", tuple(norm.gamma.shape))
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    require(bool((variance >= 0).all()), f"The variance of {theirs!r} is negative.")
    # gamma / √(variance + ε) stays the same under our ε.
    gamma = gamma * np.sqrt((variance + norm.epsilon) / (variance + epsilon))
    norm.set_weights([gamma, beta, mean, variance])


def fold_scaling(model: "keras.Model", scaling: InputScaling) -> None:
    """Makes a network that reads `scaling`'s input read (uint8 − 128) / 128.

    With their input z = a · x + b, a convolution W gives

      W ∗ z = (a W) ∗ x + Σ W b,   and batch norm takes the constant off its mean,

    at the border too if x is padded with `scaling.zero()`.
    """
    (kernel,) = model.get_layer("stem_conv").weights
    norm = model.get_layer("stem_bn")
    # float64, so that scaling and shift are each rounded once.
    values = kernel.numpy().astype(np.float64)
    constant = np.einsum("hwio,i->o", values, scaling.offset())
    kernel.assign(values * scaling.slope()[:, None])
    # (W ∗ z − mean) = (a W) ∗ x − (mean − Σ W b)
    norm.moving_mean.assign(norm.moving_mean.numpy() - constant)

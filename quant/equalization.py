"""Cross-layer equalization: the same float function, with channels that fill their int8 range.

An activation has one scale for all of its channels, so a channel that uses a tenth of the
range is rounded ten times more coarsely than need be. Multiplying a channel by s where it is
made and dividing by s where it is used changes nothing in float (Nagel et al. 2019,
"Data-free quantization through weight equalization and bias correction"). ReLU6 allows it
only for s ≥ 1 and as long as the channel stays under 6, which calibration images tell.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np
import tensorflow as tf
import tf_keras as keras

from quant.keras_graph import consumers, sources
from quant.kernel_layout import against_kernel, is_depthwise
from quant.rewrite import CONVOLUTIONS

# Share of the limit that a channel's largest calibration value may be raised to: what other images
# give beyond the limit is clipped, and then the float function is no longer the same.
_HEADROOM = 0.9
# Without it, a channel that hardly showed in calibration would be raised so far that other images clip.
_MAX_GAIN = 16.0


@dataclasses.dataclass(frozen=True)
class Stream:
    """Tensors whose channels must be scaled alike.

    Attributes:
      tensors: layers whose outputs these are.
      producers: convolutions that make them, consumers: convolutions that read them.
      limit: the largest value that the ReLU between lets through; None for linear tensors.
    """

    tensors: tuple[str, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    limit: float | None


def equalize(
    model: keras.Model, batches: Iterable[np.ndarray], linear_power: float = 0.5, pointwise_power: float = 0.5
) -> dict[str, np.ndarray]:
    """Rescales the channels of a float network without batch norm, in place.

    Args:
      model: functional, batch norm folded.
      batches: float32 network inputs [N,H,W,C].
      linear_power: gain = (largest channel / channel) ^ power for tensors without ReLU. Half way
        was best on the published network: activations in int8 gave 25.5 dB, 24.7 to 25.4 with 0 or 1.
      pointwise_power: the same before a 1×1 convolution, whose kernel pays for the gain; a
        depthwise kernel has one scale per channel and pays nothing, so its power is 1.

    Returns:
      Layer → gains [channels] by which its output was multiplied; the others are as they were.
    """
    streams = find_streams(model)
    peaks = _channel_peaks(model, [t for s in streams for t in s.tensors], batches)
    gains = {}
    for stream in streams:
        peak = np.max([peaks[t] for t in stream.tensors], axis=0)
        depthwise = all(is_depthwise(model.get_layer(c)) for c in stream.consumers)
        power = linear_power if stream.limit is None else 1.0 if depthwise else pointwise_power
        gain = channel_gains(peak, stream.limit, power)
        for name in stream.producers:
            _scale_outputs(model.get_layer(name), gain)
        for name in stream.consumers:
            _scale_inputs(model.get_layer(name), 1.0 / gain)
        gains |= dict.fromkeys(stream.tensors, gain)
    return gains


def channel_gains(peak: np.ndarray, limit: float | None, power: float) -> np.ndarray:
    """Factor ≥ 1 for each channel, from its largest magnitude.

    Args:
      peak: [channels].
      limit: what ReLU lets through, or None.
      power: how far channels are brought together; 1 makes them equal.
    """
    # gain = (target / peak) ^ power, and never under 1: with s < 1, min(s·x, 6) is not s · min(x, 6) for
    # an x over 6. A channel that is always 0 keeps a gain of 1.
    target = _HEADROOM * limit if limit is not None else peak.max()
    room = np.divide(target, peak, out=np.ones_like(peak), where=peak > 1e-6)
    return np.clip(np.maximum(room, 1.0) ** power, 1.0, _MAX_GAIN)


def find_streams(model: keras.Model) -> list[Stream]:
    """The scalable tensors of a network, residual sums and what they add taken together."""
    groups = _groups(model)
    return [stream for members in groups if (stream := _stream(model, members)) is not None]


def _groups(model: keras.Model) -> list[list[str]]:
    """Layers whose outputs have one scale: additions with their inputs, ReLU with its padding."""
    parent = {layer.name: layer.name for layer in model.layers}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for layer in model.layers:
        # s·a + s·b is s·(a + b) only with one s. A zero border suits any s; a BorderPadding2D's would not.
        if isinstance(layer, (keras.layers.Add, keras.layers.ZeroPadding2D)):
            for source in sources(layer):
                parent[root(source.name)] = root(layer.name)
    groups: dict[str, list[str]] = {}
    for layer in model.layers:
        groups.setdefault(root(layer.name), []).append(layer.name)
    return list(groups.values())


def _stream(model: keras.Model, members: list[str]) -> Stream | None:
    """The stream of a group, or None where something in it cannot be scaled."""
    layers = [model.get_layer(name) for name in members]
    heads = [
        layer for layer in layers if not isinstance(layer, (keras.layers.Add, keras.layers.ZeroPadding2D))
    ]
    relus = [layer for layer in heads if isinstance(layer, keras.layers.ReLU)]
    outside = [c for layer in layers for c in consumers(layer) if c.name not in members]
    if relus:
        if len(heads) != 1 or not _plain_relu(relus[0]):
            return None
        producers, limit = sources(relus[0]), relus[0].max_value
    else:
        producers, limit = heads, None
        if any(isinstance(layer, keras.layers.ReLU) for layer in outside):
            return None  # the convolution before a ReLU: scaled by the ReLU's own stream
    # Nothing divides by the gain again behind the network's output, and a reader that takes a convolution
    # before its ReLU would get the gain unasked.
    usable = (
        outside
        and all(_is_convolution(layer) for layer in (*producers, *outside))
        and not any(_is_output(model, name) for name in members)
    )
    if not usable or (relus and any(len(consumers(p)) != 1 for p in producers)):
        return None
    return Stream(
        tuple(members),
        tuple(p.name for p in producers),
        tuple(c.name for c in outside),
        None if limit is None else float(limit),
    )


def _plain_relu(layer: keras.layers.ReLU) -> bool:
    return layer.max_value is not None and not float(layer.negative_slope) and not float(layer.threshold)


def _is_convolution(layer: keras.layers.Layer) -> bool:
    # The bias grows with the kernel, so there has to be one, as behind a folded batch norm.
    return type(layer).__name__ in CONVOLUTIONS and layer.use_bias


def _is_output(model: keras.Model, name: str) -> bool:
    return name in model.output_names


def _channel_peaks(model: keras.Model, names: list[str], batches) -> dict[str, np.ndarray]:
    observe = tf.function(
        keras.Model(
            model.input,
            {name: tf.reduce_max(tf.abs(model.get_layer(name).output), axis=[0, 1, 2]) for name in names},
        )
    )
    peaks: dict[str, np.ndarray] = {}
    for batch in batches:
        for name, values in observe(tf.convert_to_tensor(batch)).items():
            peaks[name] = np.maximum(peaks.get(name, 0.0), values.numpy().astype(np.float64))
    return peaks


def _scale_outputs(layer: keras.layers.Layer, gain: np.ndarray) -> None:
    kernel, bias = layer.get_weights()
    # s · (W x + b) = (s W) x + s b
    layer.set_weights([kernel * against_kernel(gain, layer), bias * gain])


def _scale_inputs(layer: keras.layers.Layer, gain: np.ndarray) -> None:
    kernel, bias = layer.get_weights()
    # Input channels are the third axis of both kernels, [h,w,in,out] and [h,w,channels,1].
    layer.set_weights([kernel * gain[:, np.newaxis], bias])

"""Rounds kernels so that each layer's output, not each weight, stays close to the float one.

Layer after layer, with the inputs that the quantized network really gives:
1. the kernel and bias that reproduce the float layer's output best (least squares, held near
   the float kernel), which takes back the errors of the layers before;
2. rounding to integers, each rounding error being made up for by the other weights.
How near the float kernel, each layer decides by images that it was not fitted to: a classifier
of thousands of weights a class would else learn a few hundred images by heart.
It needs forward passes over a few hundred images and no training.
"""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
import tf_keras as keras
from threadpoolctl import threadpool_limits

from nas_tf.base.progress import Progress
from quant import rounding
from quant.quantizer_list import KernelRange, kernel_ranges

_CHUNK = 20  # images computed at once
_ROWS = 12000  # output positions that a layer is fitted to
_DEPTHWISE_ROWS = 4000
_RIDGES = (np.inf, 1.0, 0.1)  # infinite: the float kernel, rounded with compensation
_NOTE_EVERY = 25  # layers between lasting lines
_HELD_OUT = 4  # one image in so many is held out


def reconstruct(
    float_model: keras.Model,
    qat_model: keras.Model,
    images: np.ndarray,
    kernels: bool = True,
    seed: int = 0,
    done: int = 0,
    after_layer: Callable[[int], None] = lambda count: None,
    pictures: np.ndarray | None = None,
) -> dict[str, tuple[float, float]]:
    """Replaces the kernels and biases of `qat_model`, whose ranges are set.

    Args:
      float_model: the network that it was made of.
      images: float32 network inputs [N,R,R,3].
      kernels: whether kernels change; else they are rounded to nearest and only biases are
        corrected (Nagel et al. 2019, "bias correction").
      seed: of the choice of output positions.
      done: how many layers of `qat_model` have been replaced before; they are left as they are.
      after_layer: called with the number of layers replaced so far, after each.
      pictures: whole numbers [N], equal for views of one image, which are held out together;
        None: `images` are all of other images.

    Returns:
      Layer → relative error of its output, rounded to nearest and reconstructed, on the
      positions fitted to.
    """
    found = {k.layer.name: k for k in kernel_ranges(qat_model)}
    random = np.random.default_rng(seed)
    held = held_out(np.arange(len(images)) if pictures is None else pictures)
    errors, count = {}, 0
    # Thousands of small products: BLAS threads would wait for each other more than compute.
    with Progress("reconstruct", len(found), done) as progress, threadpool_limits(1, "blas"):
        for layer, given, wanted in _walk(float_model, qat_model, images):
            if layer.name not in found:
                continue
            count += 1
            chosen = _positions(found[layer.name], wanted.shape, random)
            if count <= done:
                continue
            kernel = found[layer.name]
            judges = _rows_of(held, chosen, wanted.shape)
            errors[kernel.source] = _fit_layer(kernel, given, wanted, kernels, chosen, judges)
            after_layer(count)
            progress.update(count, error=errors[kernel.source][1])
            if count % _NOTE_EVERY == 0:
                progress.note(f"layer {count} of {len(found)}")
    return errors


def _positions(kernel: KernelRange, shape: tuple[int, ...], random: np.random.Generator) -> list[np.ndarray]:
    """Ascending random output positions of each chunk of images, for outputs of `shape`.

    Drawn for layers that are done as well, so that a run taken up again draws what it would have.
    """
    rows = _DEPTHWISE_ROWS if kernel.channel_axis == 2 else _ROWS
    starts = range(0, shape[0], _CHUNK)
    per_chunk = -(-rows // len(starts))
    counts = (min(_CHUNK, shape[0] - start) * shape[1] * shape[2] for start in starts)
    return [np.sort(random.permutation(count)[:per_chunk]) for count in counts]


def held_out(pictures: np.ndarray) -> np.ndarray:
    """Which inputs decide and are not fitted to, bool [N]: all views of every fourth image."""
    _, first, number = np.unique(pictures, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))  # of the images, by appearance
    return order[number] % _HELD_OUT == _HELD_OUT - 1


def _rows_of(held: np.ndarray, chosen: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Which of the chosen output positions are of images `held`, bool [M]."""
    starts = range(0, shape[0], _CHUNK)
    rows = np.concatenate(
        [
            held[start + positions // (shape[1] * shape[2])]
            for start, positions in zip(starts, chosen, strict=True)
        ]
    )
    if not rows.any():  # fewer images than can be spared: the last positions
        rows[len(rows) - len(rows) // _HELD_OUT :] = True
    return rows


def _fit_layer(
    kernel: KernelRange,
    given: np.ndarray,
    wanted: np.ndarray,
    kernels: bool,
    chosen: list[np.ndarray],
    judges: np.ndarray,
) -> tuple[float, float]:
    """Sets kernel and bias of one layer; returns its relative errors before and after.

    `judges`: which of the chosen positions decide between solutions, bool [M].
    """
    layer = kernel.layer.layer
    is_depthwise = kernel.channel_axis == 2
    patches, targets = _samples(layer, kernel.kernel.shape, given, wanted, chosen)
    weights = _as_rows(kernel.kernel.numpy(), is_depthwise).astype(np.float64)
    per_tensor = kernel.maximum.shape.rank == 0
    scales = _scales(weights, per_tensor)
    nearest = np.round(weights / scales[:, None]) * scales[:, None]
    before = _error(patches, targets, nearest, kernel.bias.numpy())
    rows = nearest
    if kernels:
        fitted = patches[~judges], targets[~judges]
        candidates = [nearest, *_solutions(*fitted, weights, per_tensor)]
        rows = min(candidates, key=lambda r: _error(patches[judges], targets[judges], r, _bias(*fitted, r)))
    bias = _bias(patches, targets, rows)
    kernel.kernel.assign(_as_kernel(rows, kernel.kernel.shape, is_depthwise))
    kernel.bias.assign(bias)
    kernel.fit()
    return before, _error(patches, targets, rows, bias)


def _scales(weights: np.ndarray, per_tensor: bool) -> np.ndarray:
    """Width of the int8 step with which each row, or the whole kernel, reaches ±127, [rows]."""
    largest = np.abs(weights).max(axis=1)
    return np.maximum(np.full_like(largest, largest.max()) if per_tensor else largest, 1e-10) / 127.0


def _solutions(
    patches: np.ndarray, targets: np.ndarray, weights: np.ndarray, per_tensor: bool
) -> Iterator[np.ndarray]:
    """Weights on a grid, [rows, D], for each strength of the pull towards `weights`."""
    hessian, moment = rounding.moments(patches - patches.mean(axis=0), targets - targets.mean(axis=0))
    for ridge in _RIDGES:
        solved = rounding.ridge_regression(weights, hessian, moment, ridge)
        # The weights have changed, so their steps are new as well.
        scales = _scales(solved, per_tensor)
        yield scales[:, None] * rounding.round_with_compensation(solved, rounding.damped(hessian), scales)


def _bias(patches: np.ndarray, targets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The bias that makes the mean output right, [rows]."""
    return targets.mean(axis=0) - np.sum(rows * patches.mean(axis=0).T, axis=1)


def _error(patches: np.ndarray, targets: np.ndarray, rows: np.ndarray, bias: np.ndarray) -> float:
    """Squared error of the layer's output over the wanted output's power."""
    if patches.ndim == 3:
        outputs = np.einsum("mdc,cd->mc", patches, rows) + bias
    else:
        outputs = patches @ rows.T + bias
    return float(np.sum((outputs - targets) ** 2) / np.sum(targets**2))


def _samples(
    layer, kernel_shape, given: np.ndarray, wanted: np.ndarray, positions: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and outputs of the layer at these positions of each chunk of images.

    Returns:
      (float64 [M, D], or [M, D, C] for a depthwise layer; float64 [M, outputs]).
    """
    height, width = kernel_shape[:2]
    patches, targets = [], []
    for start, chosen in zip(range(0, len(given), _CHUNK), positions, strict=True):
        found = tf.image.extract_patches(
            given[start : start + _CHUNK],
            [1, height, width, 1],
            [1, *layer.strides, 1],
            [1, 1, 1, 1],
            layer.padding.upper(),
        )
        found = tf.reshape(found, [-1, found.shape[-1]])
        patches.append(tf.gather(found, chosen).numpy())
        targets.append(wanted[start : start + _CHUNK].reshape(-1, wanted.shape[-1])[chosen])
    joined = np.concatenate(patches).astype(np.float64)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        joined = joined.reshape(len(joined), height * width, -1)
    return joined, np.concatenate(targets).astype(np.float64)


def _as_rows(kernel: np.ndarray, is_depthwise: bool) -> np.ndarray:
    """[outputs, D] of a kernel [h,w,in,out], or [channels, h·w] of [h,w,channels,1]."""
    return (
        kernel[..., 0].reshape(-1, kernel.shape[2]).T
        if is_depthwise
        else kernel.reshape(-1, kernel.shape[3]).T
    )


def _as_kernel(rows: np.ndarray, shape, is_depthwise: bool) -> np.ndarray:
    return rows.T.reshape(shape)


def _walk(float_model: keras.Model, qat_model: keras.Model, images: np.ndarray) -> Iterator:
    """Yields (layer of `qat_model`, its input, the float layer's output), layer by layer.

    A layer changed by the receiver is computed as changed.
    """
    float_layers = {layer.name: layer for layer in float_model.layers}
    values = {qat_model.layers[0].name: images}
    targets = {float_model.layers[0].name: images}
    for position, layer in enumerate(qat_model.layers[1:], 1):
        given = [values[s] for s in _source_names(layer)]
        inner = getattr(layer, "layer", layer).name
        if inner in float_layers:
            sources = _source_names(float_layers[inner])
            targets[inner] = _run(float_layers[inner], [targets[s] for s in sources])
            yield layer, given[0], targets[inner]
        values[layer.name] = _run(layer, given)
        later = qat_model.layers[position + 1 :]
        _forget(values, {s for other in later for s in _source_names(other)} | {layer.name})
        _forget(
            targets,
            {
                s
                for other in later
                if (name := getattr(other, "layer", other).name) in float_layers
                for s in _source_names(float_layers[name])
            }
            | {inner},
        )


def _run(layer: keras.layers.Layer, inputs: list[np.ndarray]) -> np.ndarray:
    chunks = []
    for start in range(0, len(inputs[0]), _CHUNK):
        parts = [x[start : start + _CHUNK] for x in inputs]
        chunks.append(layer(parts if len(parts) > 1 else parts[0]).numpy())
    return np.concatenate(chunks)


def _source_names(layer: keras.layers.Layer) -> list[str]:
    sources = layer.inbound_nodes[0].inbound_layers
    return [s.name for s in (sources if isinstance(sources, (list, tuple)) else [sources])]


def _forget(values: dict[str, np.ndarray], needed: set[str]) -> None:
    for name in set(values) - needed:
        del values[name]

"""Rounds kernels so that each layer's output, not each weight, stays close to the float one.

Layer after layer, with the inputs that the quantized network really gives:
1. the kernel and bias that reproduce the float layer's output best (least squares, held near
   the float kernel), which takes back the errors of the layers before;
2. rounding to integers one weight after another, each rounding error being made up for by the
   weights not yet rounded (Frantar et al. 2023, "GPTQ", which is Hassibi and Stork's optimal
   brain surgeon applied to rounding).
It needs forward passes over a few hundred images and no training.
"""

from typing import Iterator

import numpy as np
import tensorflow as tf
import tf_keras as keras
from threadpoolctl import threadpool_limits

from nas_tf.training.progress import Progress
from quant.quantizer_list import KernelRange, kernel_ranges

_CHUNK = 20  # images computed at once
_ROWS = 12000  # output positions that a layer is fitted to
_DEPTHWISE_ROWS = 4000


def reconstruct(float_model: keras.Model, qat_model: keras.Model, images: np.ndarray,
                ridge: float = 0.01, kernels: bool = True, seed: int = 0
                ) -> dict[str, tuple[float, float]]:
    """Replaces the kernels and biases of `qat_model`, whose ranges are set.

    Args:
      float_model: the network that it was made of.
      images: float32 network inputs [N,R,R,3].
      ridge: pull towards the float kernel, relative to the mean power of the inputs.
      kernels: whether kernels change; else they are rounded to nearest and only biases are
        corrected (Nagel et al. 2019, "bias correction").
      seed: of the choice of output positions.

    Returns:
      Layer → relative error of its output, rounded to nearest and reconstructed, on the
      positions fitted to.
    """
    found = {k.layer.name: k for k in kernel_ranges(qat_model)}
    strength = ridge if kernels else np.inf
    random = np.random.default_rng(seed)
    errors = {}
    # Thousands of small products: BLAS threads would wait for each other more than compute.
    with Progress("reconstruct", len(found)) as progress, threadpool_limits(1, "blas"):
        for layer, given, wanted in _walk(float_model, qat_model, images):
            if layer.name in found:
                kernel = found[layer.name]
                errors[kernel.source] = _fit_layer(kernel, given, wanted, strength, random)
                progress.update(len(errors), error=errors[kernel.source][1])
    return errors


def round_with_compensation(weights: np.ndarray, hessian: np.ndarray,
                            scales: np.ndarray) -> np.ndarray:
    """Integers q with small (w − s·q) H (w − s·q)ᵀ for every row w.

    Args:
      weights: [rows, D].
      hessian: [D, D] for all rows, or [rows, D, D]; positive definite.
      scales: int8 step of each row, [rows].

    Returns:
      Integers in [−127, 127], [rows, D].
    """
    rows, size = weights.shape
    hessian = np.broadcast_to(hessian, (rows, size, size)) if hessian.ndim == 3 else hessian[None]
    # The inputs of most power first: their errors can still be made up for by all others.
    order = np.argsort(-np.diagonal(hessian, axis1=1, axis2=2), axis=1)
    hessian = np.take_along_axis(
        np.take_along_axis(hessian, order[:, :, None], 1), order[:, None, :], 2)
    # inverse = upperᵀ · upper
    upper = np.swapaxes(np.linalg.cholesky(np.linalg.inv(hessian)), 1, 2)
    order = np.broadcast_to(order, (rows, size))
    left = np.take_along_axis(weights.astype(np.float64), order, 1)
    integers = np.zeros((rows, size))
    for i in range(size):
        integers[:, i] = np.clip(np.round(left[:, i] / scales), -127, 127)
        error = (left[:, i] - scales * integers[:, i]) / upper[:, i, i]
        left[:, i + 1:] -= error[:, None] * upper[:, i, i + 1:]
    result = np.empty_like(integers)
    np.put_along_axis(result, order, integers, 1)
    return result


def _fit_layer(kernel: KernelRange, given: np.ndarray, wanted: np.ndarray, ridge: float,
               random: np.random.Generator) -> tuple[float, float]:
    """Sets kernel and bias of one layer; returns its relative errors before and after."""
    layer = kernel.layer.layer
    is_depthwise = kernel.channel_axis == 2
    patches, targets = _samples(layer, kernel.kernel.shape, given, wanted, random,
                                _DEPTHWISE_ROWS if is_depthwise else _ROWS)
    weights = _as_rows(kernel.kernel.numpy(), is_depthwise).astype(np.float64)
    scales = np.maximum(np.broadcast_to(kernel.scales, weights.shape[:1]), 1e-12)
    bias = kernel.bias.numpy().astype(np.float64)
    nearest = np.clip(np.round(weights / scales[:, None]), -127, 127) * scales[:, None]
    before = _relative_error(patches, nearest, bias, targets)
    mean_in, mean_out = patches.mean(axis=0), targets.mean(axis=0)
    rounded = nearest
    if np.isfinite(ridge):
        hessian, moment = _normal_equations(patches - mean_in, targets - mean_out, weights, ridge)
        solved = np.linalg.solve(hessian, moment[..., None])[..., 0]
        rounded = round_with_compensation(solved, hessian, scales) * scales[:, None]
    # The bias that makes the mean output right.
    bias = mean_out - np.sum(rounded * _by_row(mean_in, is_depthwise), axis=1)
    after = _relative_error(patches, rounded, bias, targets)
    if after < before:
        kernel.kernel.assign(_as_kernel(rounded, kernel.kernel.shape, is_depthwise))
        kernel.bias.assign(bias)
    return before, min(before, after)


def _normal_equations(patches: np.ndarray, targets: np.ndarray, weights: np.ndarray,
                      ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """H = XᵀX/M + λI and g = Xᵀy/M + λ·w₀, for all rows or a row each."""
    count = len(patches)
    if patches.ndim == 3:  # depthwise: [M, D, C]
        columns = np.ascontiguousarray(patches.transpose(2, 1, 0))
        hessian = columns @ columns.transpose(0, 2, 1) / count
        moment = np.einsum("cdm,mc->cd", columns, targets) / count
    else:
        hessian = patches.T @ patches / count
        moment = targets.T @ patches / count
        hessian = hessian[None]
    size = hessian.shape[-1]
    strength = ridge * np.trace(hessian, axis1=1, axis2=2)[:, None, None] / size + 1e-10
    return hessian + strength * np.eye(size), moment + strength[..., 0] * weights


def _relative_error(patches, weights, bias, targets) -> float:
    if patches.ndim == 3:
        outputs = np.einsum("mdc,cd->mc", patches, weights) + bias
    else:
        outputs = patches @ weights.T + bias
    return float(np.sum((outputs - targets) ** 2) / np.sum(targets**2))


def _samples(layer, kernel_shape, given: np.ndarray, wanted: np.ndarray,
             random: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and outputs of the layer at random positions.

    Returns:
      (float64 [M, D], or [M, D, C] for a depthwise layer; float64 [M, outputs]).
    """
    height, width = kernel_shape[:2]
    chunks = range(0, len(given), _CHUNK)
    per_chunk = -(-rows // len(chunks))
    patches, targets = [], []
    for start in chunks:
        found = tf.image.extract_patches(
            given[start:start + _CHUNK], [1, height, width, 1], [1, *layer.strides, 1],
            [1, 1, 1, 1], layer.padding.upper())
        found = tf.reshape(found, [-1, found.shape[-1]])
        chosen = random.permutation(int(found.shape[0]))[:per_chunk]
        patches.append(tf.gather(found, chosen).numpy())
        targets.append(wanted[start:start + _CHUNK].reshape(-1, wanted.shape[-1])[chosen])
    joined = np.concatenate(patches).astype(np.float64)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        joined = joined.reshape(len(joined), height * width, -1)
    return joined, np.concatenate(targets).astype(np.float64)


def _as_rows(kernel: np.ndarray, is_depthwise: bool) -> np.ndarray:
    """[outputs, D] of a kernel [h,w,in,out], or [channels, h·w] of [h,w,channels,1]."""
    return kernel[..., 0].reshape(-1, kernel.shape[2]).T if is_depthwise \
        else kernel.reshape(-1, kernel.shape[3]).T


def _as_kernel(rows: np.ndarray, shape, is_depthwise: bool) -> np.ndarray:
    return rows.T.reshape(shape)


def _by_row(mean: np.ndarray, is_depthwise: bool) -> np.ndarray:
    return mean.T if is_depthwise else mean[None]


def _walk(float_model: keras.Model, qat_model: keras.Model, images: np.ndarray) -> Iterator:
    """Yields (layer of `qat_model`, its input, the float layer's output), computing both
    networks one layer at a time; a layer changed by the receiver is computed as changed.
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
        later = qat_model.layers[position + 1:]
        _forget(values, {s for other in later for s in _source_names(other)} | {layer.name})
        _forget(targets, {s for other in later
                          if (name := getattr(other, "layer", other).name) in float_layers
                          for s in _source_names(float_layers[name])} | {inner})


def _run(layer: keras.layers.Layer, inputs: list[np.ndarray]) -> np.ndarray:
    chunks = []
    for start in range(0, len(inputs[0]), _CHUNK):
        parts = [x[start:start + _CHUNK] for x in inputs]
        chunks.append(layer(parts if len(parts) > 1 else parts[0]).numpy())
    return np.concatenate(chunks)


def _source_names(layer: keras.layers.Layer) -> list[str]:
    sources = layer.inbound_nodes[0].inbound_layers
    return [s.name for s in (sources if isinstance(sources, (list, tuple)) else [sources])]


def _forget(values: dict[str, np.ndarray], needed: set[str]) -> None:
    for name in set(values) - needed:
        del values[name]

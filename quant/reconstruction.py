"""Rounds kernels so that each layer's output, not each weight, stays close to the float one.

AdaRound and BRECQ learn for each weight whether it is rounded up or down, by gradient descent on
the output of a layer or block. A convolution's output is linear in its weights, so its squared
error is quadratic in them and no descent is needed: layer after layer, on the inputs that the
quantized network really gives,

1. the kernel and bias that reproduce the float layer's output best (least squares, held near the
   float kernel), which takes back the errors of the layers before;
2. rounding to integers, each rounding error being made up for by the other weights (GPTQ).

How near the float kernel, each layer decides by images that it was not fitted to: a classifier
of thousands of weights per class would else learn a few hundred images by heart.
The arithmetic is in `quant.rounding`. It needs forward passes over a few hundred images.
"""

from collections.abc import Callable, Iterator

import numpy as np
import tf_keras as keras
from threadpoolctl import threadpool_limits

from nas_tf.base.progress import Progress
from quant import int8, layer_samples, rounding
from quant.kernel_layout import as_rows, from_rows
from quant.layer_samples import Samples
from quant.layer_walk import walk
from quant.quantizer_list import KernelRange, kernel_ranges

# Pulls towards the float kernel, of which each layer takes what suits held-out images; infinite: the
# float kernel itself, rounded with compensation. One pull for all layers learned the classifier's few
# images by heart, and noise on others was worse than with corrected biases alone.
_RIDGES = (np.inf, 1.0, 0.1)
_NOTE_EVERY = 25  # layers between lasting lines
_LEAST_WEIGHT = 1e-10  # a row of zeros gets a step as well, to be divided by


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
    found = {kernel.layer.name: kernel for kernel in kernel_ranges(qat_model)}
    random = np.random.default_rng(seed)
    held = layer_samples.held_out(np.arange(len(images)) if pictures is None else pictures)
    errors, count = {}, 0
    # Thousands of small products: BLAS threads would wait for each other more than compute.
    with Progress("reconstruct", len(found), done) as progress, threadpool_limits(1, "blas"):
        for layer, given, wanted in walk(float_model, qat_model, images):
            if layer.name not in found:
                continue
            kernel, count = found[layer.name], count + 1
            # Drawn for layers that are done as well: a run taken up again draws what it would have.
            positions = layer_samples.draw_positions(kernel, wanted.shape, random)
            if count <= done:
                continue
            samples = layer_samples.take(kernel, given, wanted, positions)
            judges = layer_samples.judges(held, positions, wanted.shape)
            errors[kernel.source] = _fit_layer(kernel, samples, judges, kernels)
            after_layer(count)
            progress.update(count, error=errors[kernel.source][1])
            if count % _NOTE_EVERY == 0:
                progress.note(f"layer {count} of {len(found)}")
    return errors


def _fit_layer(kernel: KernelRange, samples: Samples, judges: np.ndarray, move: bool) -> tuple[float, float]:
    """Sets kernel and bias of one layer; returns its relative errors before and after.

    Args:
      judges: which samples decide between solutions and are not fitted to, bool [M].
      move: whether kernels may be more than rounded to nearest.
    """
    weights = as_rows(kernel.kernel.numpy(), kernel.layer.layer).astype(np.float64)
    scales = _scales(weights, kernel.per_tensor)[:, None]
    nearest = scales * int8.kernel_integers(weights / scales)
    before = _error(samples, nearest, kernel.bias.numpy())
    rows = nearest
    if move:
        fitted, judging = samples.at(~judges), samples.at(judges)
        # Nearest first: `min` takes the first of equals, so other weights have to be better to be taken.
        candidates = [nearest, *_solutions(fitted, weights, kernel.per_tensor)]
        rows = min(candidates, key=lambda r: _error(judging, r, _bias(fitted, r)))
    # The choice is made, so the images that judged may help with the bias.
    bias = _bias(samples, rows)
    kernel.kernel.assign(from_rows(rows, kernel.kernel.shape))
    kernel.bias.assign(bias)
    # The range follows the moved kernel; moving its largest weight back instead cost 2 dB.
    kernel.fit()
    return before, _error(samples, rows, bias)


def _solutions(samples: Samples, weights: np.ndarray, per_tensor: bool) -> Iterator[np.ndarray]:
    """Weights on a grid, [rows, D], for each strength of the pull towards `weights`."""
    # Centred, since the bias takes up whatever the means are.
    hessian, moment = rounding.moments(
        samples.patches - samples.patches.mean(axis=0), samples.targets - samples.targets.mean(axis=0)
    )
    for ridge in _RIDGES:
        solved = rounding.ridge_regression(weights, hessian, moment, ridge)
        # The weights have changed, so their steps are new as well.
        scales = _scales(solved, per_tensor)
        yield scales[:, None] * rounding.round_with_compensation(solved, rounding.damped(hessian), scales)


def _scales(weights: np.ndarray, per_tensor: bool) -> np.ndarray:
    """Width of the int8 step with which each row, or the whole kernel, reaches ±127, [rows]."""
    largest = np.abs(weights).max(axis=1)
    if per_tensor:
        largest = np.full_like(largest, largest.max())
    return int8.kernel_scale(np.maximum(largest, _LEAST_WEIGHT))


def _bias(samples: Samples, rows: np.ndarray) -> np.ndarray:
    """The bias that makes the mean output right, b = E[y] − Σ w · E[x], [rows]."""
    return samples.targets.mean(axis=0) - np.sum(rows * samples.patches.mean(axis=0).T, axis=1)


def _error(samples: Samples, rows: np.ndarray, bias: np.ndarray) -> float:
    """Σ (x·wᵀ + b − y)² / Σ y²: squared error of the layer's output over the wanted output's power."""
    if samples.patches.ndim == 3:  # depthwise: row c reads channel c
        outputs = np.einsum("mdc,cd->mc", samples.patches, rows) + bias
    else:
        outputs = samples.patches @ rows.T + bias
    return float(np.sum((outputs - samples.targets) ** 2) / np.sum(samples.targets**2))

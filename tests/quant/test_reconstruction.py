"""Reconstruction of a network, and that it does not learn a few images by heart."""

import numpy as np
import tf_keras as keras

from quant import ranges, scheme
from quant.comparison import snr_db
from quant.layer_samples import Samples
from quant.quantizer_list import kernel_ranges
from quant.reconstruction import reconstruct


def test_a_network_comes_closer_to_its_float_form_on_other_images(quantized, random_images):
    qat_model, folded = quantized
    others = random_images(200, seed=77)
    reference = folded(others).numpy()
    before = snr_db(reference, qat_model(others).numpy())
    errors = reconstruct(folded, qat_model, random_images(96))
    assert set(errors) == {la.name for la in folded.layers if la.weights}
    assert snr_db(reference, qat_model(others).numpy()) > before + 1.0
    for entry in kernel_ranges(qat_model):
        steps = np.moveaxis(entry.kernel.numpy(), entry.channel_axis, -1) / entry.scales
        assert np.abs(steps - np.round(steps)).max() < 1e-3
        assert np.all(np.round(np.abs(steps)).reshape(-1, steps.shape[-1]).max(axis=0) == 127)


def test_corrected_biases_make_mean_outputs_right(quantized, images):
    qat_model, folded = quantized
    kernels = [w.numpy() for w in qat_model.trainable_weights if "kernel" in w.name]
    reconstruct(folded, qat_model, images, kernels=False)
    gap = np.abs(qat_model(images).numpy().mean(0) - folded(images).numpy().mean(0))
    # All that is left is the rounding of the logits, whose mean error is far under a step.
    step = ranges.activation_ranges(qat_model)[-1].scale
    assert gap.max() < 0.5 * step
    for old, new in zip(kernels, [w for w in qat_model.trainable_weights if "kernel" in w.name]):
        assert np.abs(old - new.numpy()).max() <= np.abs(old).max() / 127 * 0.51


def _gain_on_other_images(seed: int) -> float:
    """dB that reconstruction by 24 images wins for a classifier of 64 weights per class."""
    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    x = keras.Input((2, 2, 64))
    out = keras.layers.Conv2D(8, 1, name="head")(
        keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    )
    model = keras.Model(x, keras.layers.Flatten(name="flat")(out))
    few = random.uniform(-1, 0.99, (24, 2, 2, 64)).astype(np.float32)
    others = random.uniform(-1, 0.99, (200, 2, 2, 64)).astype(np.float32)
    qat_model, folded, _ = scheme.quantize(model)
    ranges.calibrate(folded, qat_model, [few])
    # Coarse steps before the classifier: noise that a fit to few images takes for a pattern.
    next(r for r in ranges.activation_ranges(qat_model) if r.source == "pool").assign(-30, 30)
    reference = folded(others).numpy()
    nearest = snr_db(reference, qat_model(others).numpy())
    reconstruct(folded, qat_model, few)
    return snr_db(reference, qat_model(others).numpy()) - nearest


def test_a_classifier_with_more_weights_than_images_is_not_bent_to_them(monkeypatch):
    judged = np.mean([_gain_on_other_images(seed) for seed in range(6)])
    # The control: the images that were fitted to also judge, so the closest fit always wins.
    monkeypatch.setattr(Samples, "at", lambda samples, chosen: samples)
    unjudged = np.mean([_gain_on_other_images(seed) for seed in range(6)])
    assert judged > -0.5
    assert unjudged < -0.8

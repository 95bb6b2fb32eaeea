"""Background on a real network: never predicted, whichever class lends it its weights."""

import numpy as np
import pytest

from export import background
from export.convert_run import ConvertConfig, run_convert
from quant import flatbuffer

PUBLISHED = "proxyless-w0.3-r176_imagenet"


def rescale(accumulators, multipliers):
    """int32 sums → int8 steps: a 64-bit fixed-point product, rounded."""
    mantissa, exponent = np.frexp(multipliers)
    fixed, shift = np.round(mantissa * 2**31).astype(np.int64), 31 - exponent
    return (accumulators * fixed + (np.int64(1) << (shift - 1))) >> shift


def validation_images(folder):
    from nas_tf.data import preprocess
    from nas_tf.data.opening import open_source

    source = open_source("imagenet2012", str(folder / "tfds"))
    for image, _ in source.examples("validation"):
        yield preprocess.evaluation_image(image, 176, 201).numpy()[None]


def classifier_inputs(path, classifier, images):
    """What reaches the classifier [N, C] and its int8 outputs [N, classes], from the runtime."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=path,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    features, outputs = [], []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        features.append(interpreter.get_tensor(classifier.input.index).ravel())
        outputs.append(interpreter.get_tensor(classifier.output.index).ravel())
    return np.array(features, np.int64), np.array(outputs, np.int64)


@pytest.mark.slow
def test_no_source_class_lets_background_win(shared_data, tmp_path):
    """All 999 possible sources on 400 images, computed from the file's integers."""
    from nas_tf.imported.import_run import ImportConfig, run_import
    from nas_tf.network import model_folder
    from quant import ranges, scheme
    from quant.model import quantized_description

    published = shared_data / "proxylessnas" / PUBLISHED
    run_import(str(tmp_path), ImportConfig(f"{published}.json", f"{published}.pth", "half"))
    model, description = model_folder.load_float_model(tmp_path / "train" / "model")
    qat_model, rewritten, _ = scheme.quantize(model)
    images = np.load(f"{published}_reference_logits.npz")["images"]
    ranges.calibrate(rewritten, qat_model, [(images.astype(np.float32) - 128) / 128])
    model_folder.save_model(tmp_path / "finetune" / "model", qat_model, quantized_description(description))
    summary = run_convert(str(tmp_path), ConvertConfig(num_classes=1000))

    classifier = background.find_classifier(flatbuffer.read_file(summary["output"]).main)
    features, outputs = classifier_inputs(summary["output"], classifier, validation_images(shared_data))
    weights = classifier.weights.values.reshape(1000, -1).astype(np.int64)
    bias, zero_point = classifier.bias.values.astype(np.int64), classifier.output.zero_points[0]
    sums = (features - classifier.input.zero_points[0]) @ weights.T + bias
    steps = classifier.input.scales[0] * np.broadcast_to(classifier.weights.scales, (1000,))
    multipliers = steps / classifier.output.scales[0]
    # Kernels differ in how they round half steps; nothing here hangs on a single step.
    ours = np.clip(rescale(sums, multipliers) + zero_point, -128, 127)
    assert np.abs(ours - outputs).max() <= 1 and (ours == outputs).mean() > 0.999

    best, biases = outputs.max(axis=1), bias * steps
    wins = dict.fromkeys((0.0, background.DEFAULT_MARGIN_STEPS), 0)
    for source in np.flatnonzero(biases > biases.min()):
        for margin in wins:
            chosen = background.Background(int(source), float(biases.min()))
            chosen = background.lowered(chosen, biases[source], float(classifier.output.scales[0]), margin)
            shifted = sums[:, source] - bias[source] + np.int64(round(chosen.bias / steps[source]))
            output = np.clip(rescale(shifted, multipliers[source]) + zero_point, -128, 127)
            wins[margin] += int((output >= best).sum())  # index 0 wins ties
    assert wins[background.DEFAULT_MARGIN_STEPS] == 0
    assert wins[0.0] > 0  # the smallest bias alone, as printed in the paper, does let it win

"""What is mutated, by which tests it is judged, and changes that were chosen by hand.

The one place with paths: when a file moves, its line here moves along. Tests are patterns, the
closest ones first; a file that matches twice is run once.
"""

from typing import NamedTuple

_SEARCH = ("tests/search/test_wiring.py",)

# Source file → patterns of the test files that have to notice a change in it.
TESTS = {
    "nas_tf/search/state.py": (*_SEARCH, "tests/search/test_host_reads.py", "tests/search/test_run.py"),
    "nas_tf/search/packing.py": ("tests/search/test_packing.py", "tests/search/test_run.py"),
    "nas_tf/search/dropping.py": ("tests/search/test_dropping.py",),
    "nas_tf/search/outcome.py": ("tests/search/test_outcome.py",),
    "nas_tf/search/projection.py": ("tests/search/test_projection.py",),
    "nas_tf/search/problem.py": (
        "tests/search/test_derivation*.py",
        "tests/search/test_objective*.py",
        *_SEARCH,
        "tests/search/test_run.py",
    ),
    "nas_tf/search/run.py": (*_SEARCH, "tests/search/test_run.py"),
    "nas_tf/search/part_images.py": (*_SEARCH, "tests/search/test_held_out.py"),
    "nas_tf/search/derivation.py": (
        "tests/search/test_derivation*.py",
        "tests/search/test_projection.py",
        "tests/search/test_run.py",
    ),
    "nas_tf/supernet/graph_steps.py": (
        "tests/supernet/test_*.py",
        "tests/supernet/test_chains*.py",
        *_SEARCH,
    ),
    "nas_tf/supernet/places.py": ("tests/supernet/test_*.py", *_SEARCH),
    "nas_tf/supernet/updates.py": ("tests/supernet/test_*.py", *_SEARCH),
    "nas_tf/supernet/steps.py": ("tests/supernet/test_*.py", *_SEARCH),
    "nas_tf/search/weight_optimizer.py": ("tests/supernet/test_*.py", *_SEARCH),
    "nas_tf/search/gates.py": (
        "tests/search/test_gates*.py",
        "tests/search/test_objective*.py",
        "tests/search/test_synthetic_search.py",
    ),
    "nas_tf/supernet/gate_values.py": ("tests/supernet/test_chains*.py", "tests/supernet/test_*.py"),
    "nas_tf/search/objective.py": (
        "tests/search/test_objective*.py",
        "tests/search/test_derivation*.py",
        "tests/search/test_synthetic_search.py",
        *_SEARCH,
    ),
    "nas_tf/supernet/chain_weights.py": (
        "tests/supernet/test_chain_weights.py",
        "tests/supernet/test_chains*.py",
        "tests/supernet/test_*.py",
    ),
    "nas_tf/supernet/chains.py": (
        "tests/supernet/test_chains*.py",
        "tests/supernet/test_tying*.py",
        "tests/supernet/test_*.py",
    ),
    "nas_tf/supernet/paths.py": (
        "tests/supernet/test_chains*.py",
        "tests/supernet/test_*.py",
        "tests/supernet/test_tying*.py",
    ),
    "nas_tf/supernet/supernet.py": ("tests/supernet/test_*.py", "tests/supernet/test_tying*.py", *_SEARCH),
    "nas_tf/supernet/tying.py": ("tests/supernet/test_tying*.py",),
    "nas_tf/search/architecture_parameters.py": (
        "tests/search/test_synthetic_search.py",
        *_SEARCH,
        "tests/search/test_run.py",
    ),
    "nas_tf/search/reinforce.py": (
        "tests/search/test_synthetic_search.py",
        *_SEARCH,
        "tests/search/test_run.py",
    ),
    "nas_tf/network/losses.py": ("tests/network/test_losses.py", "tests/supernet/test_*.py"),
    "nas_tf/train/schedules.py": ("tests/train/test_schedules*.py",),
    "nas_tf/train/optimizers.py": ("tests/train/test_weight_*.py", "tests/base/test_checkpoints.py"),
    "nas_tf/train/weight_trainer.py": ("tests/train/test_weight_*.py", "tests/train/test_run.py"),
    "nas_tf/train/accuracy.py": ("tests/train/test_accuracy*.py",),
    "quant/ranges.py": ("tests/quant/test_ranges*.py", "tests/quant/test_scheme.py"),
    "quant/bias.py": (
        "tests/quant/test_bias*.py",
        "tests/quant/test_integer_*.py",
        "tests/export/test_convert*.py",
    ),
    "quant/scheme.py": (
        "tests/quant/test_scheme*.py",
        "tests/quant/test_rewrite.py",
        "tests/quant/test_audit.py",
        "tests/quant/test_image_border.py",
        "tests/quant/test_bias*.py",
    ),
    "quant/rounding.py": ("tests/quant/test_rounding*.py", "tests/quant/test_reconstruction*.py"),
    "quant/reconstruction.py": ("tests/quant/test_reconstruction*.py", "tests/quant/test_finetune_run.py"),
    "quant/layer_samples.py": (
        "tests/quant/test_layer_samples.py",
        "tests/quant/test_calibration.py",
        "tests/quant/test_reconstruction*.py",
    ),
    "quant/layer_walk.py": ("tests/quant/test_layer_samples.py", "tests/quant/test_reconstruction*.py"),
    "quant/int8.py": (
        "tests/quant/test_int8.py",
        "tests/quant/test_integer_*.py",
        "tests/quant/test_bias*.py",
    ),
    "quant/equalization.py": ("tests/quant/test_equalization*.py", "tests/quant/test_finetune_run.py"),
    "quant/integer_model.py": (
        "tests/quant/test_integer_*.py",
        "tests/quant/test_image_border.py",
        "tests/export/test_evaluate*.py",
    ),
    "nas_tf/imported/pickle_machine.py": (
        "tests/imported/test_torch_file.py",
        "tests/imported/test_torch_memory.py",
    ),
    "nas_tf/base/streams.py": ("tests/commands/test_streams.py",),
    "export/pipeline_check.py": ("tests/export/test_pipeline.py",),
    "export/background.py": ("tests/export/test_background*.py", "tests/export/test_convert*.py"),
    "export/convert_run.py": ("tests/export/test_convert*.py", "tests/export/test_background*.py"),
    "export/tflite_classifier.py": (
        "tests/export/test_foreign_models.py",
        "tests/export/test_input_scaling.py",
        "tests/export/test_evaluate*.py",
    ),
    "export/classifier.py": ("tests/export/test_evaluate*.py", "tests/export/test_foreign_models.py"),
    "export/model_accuracy.py": ("tests/export/test_evaluate*.py",),
    "export/tally.py": ("tests/export/test_tally.py", "tests/export/test_evaluate*.py"),
    "export/metadata_writer.py": ("tests/export/test_metadata_writer.py",),
    "export/file_description.py": ("tests/export/test_metadata_writer.py", "tests/export/test_predict.py"),
    "export/predict_run.py": ("tests/export/test_predict.py",),
    "export/model_card.py": ("tests/export/test_model_card.py",),
    "export/resize_comparison.py": ("tests/export/test_resize_comparison.py",),
    "export/resize_facts.py": ("tests/export/test_resize_comparison.py", "tests/export/test_model_card.py"),
    "nas_tf/data/resizers.py": ("tests/data/test_resizers.py", "tests/data/test_robust_views.py"),
    "nas_tf/data/robust_views.py": ("tests/data/test_robust_views.py",),
    "export/benchmark_several.py": ("tests/export/test_benchmark_several.py",),
    "nas_tf/data/resize.py": ("tests/data/test_resize.py", "tests/data/test_preprocess.py"),
    "nas_tf/data/held.py": ("tests/data/test_held.py",),
    "nas_tf/data/decode.py": ("tests/data/test_windows.py", "tests/data/test_preprocess.py"),
    "nas_tf/data/batches.py": (
        "tests/data/test_batches.py",
        "tests/data/test_windows.py",
        "tests/data/test_held.py",
    ),
    "nas_tf/data/unprepared.py": ("tests/data/test_unprepared.py",),
    "export/evaluate_run.py": ("tests/export/test_evaluate*.py",),
    "export/converter.py": ("tests/export/test_convert*.py", "tests/export/test_background*.py"),
}

# Tests whose outcome is not the same every time, so that they cannot judge: test → why.
UNSTABLE = {
    "tests/quant/test_image_border.py::test_another_border_goes_to_the_nearest_pixel_value": (
        "its network has weights without a seed, and its bound is close to what they give"
    ),
}

# Files that are mutated by hand only.
BY_HAND_ONLY = ("nas_tf/search/run.py", "nas_tf/search/part_images.py")


class HandPicked(NamedTuple):
    """A change that would ruin a run and look like nothing.

    `old` is a regular expression that has to match exactly once.
    """

    name: str
    path: str
    old: str
    new: str


HAND_PICKED = (
    HandPicked(
        "weight steps read the alpha images",
        "nas_tf/search/run.py",
        r"training_images\(problem, problem\.weight_part, start, state\.shards\)",
        "training_images(problem, problem.alpha_part, start, state.shards)",
    ),
    HandPicked(
        "alpha steps read the weight images",
        "nas_tf/search/run.py",
        r"training_images\(problem, problem\.alpha_part,",
        "training_images(problem, problem.weight_part,",
    ),
    HandPicked(
        "alpha images are augmented",
        "nas_tf/search/part_images.py",
        r"config\.augmentation if part is problem\.weight_part else NO_AUGMENTATION",
        "config.augmentation",
    ),
    HandPicked(
        "weight images are not augmented",
        "nas_tf/search/part_images.py",
        r"config\.augmentation if part is problem\.weight_part else NO_AUGMENTATION",
        "NO_AUGMENTATION",
    ),
    HandPicked(
        "a constant rate",
        "nas_tf/search/run.py",
        r"return cosine\(step - warmup, problem\.total_steps - warmup, schedule\.learning_rate\)",
        "return schedule.learning_rate",
    ),
    HandPicked(
        "a constant rate in the warm-up",
        "nas_tf/search/run.py",
        r"return cosine\(step, warmup, schedule\.warmup_learning_rate\)",
        "return schedule.warmup_learning_rate",
    ),
    HandPicked(
        "the rate of the first step in all steps",
        "nas_tf/search/run.py",
        r"(?<!_)learning_rate\(problem, step\)\)",
        "learning_rate(problem, 0))",
    ),
    HandPicked(
        "alpha moves in the warm-up",
        "nas_tf/search/run.py",
        r"max\(0, step - problem\.warmup_steps\)",
        "step",
    ),
    HandPicked(
        "alpha batches start anew after a restart",
        "nas_tf/search/run.py",
        r"alpha_start = alpha_steps_before\(problem, start\)",
        "alpha_start = 0",
    ),
    HandPicked(
        "no decay",
        "nas_tf/search/state.py",
        r"weight_decay=config\.schedule\.weight_decay",
        "weight_decay=0.0",
    ),
    HandPicked(
        "no label smoothing", "nas_tf/search/state.py", r"self\._config\.schedule\.label_smoothing", "0.0"
    ),
    HandPicked(
        "argmax instead of sampling, weights",
        "nas_tf/search/architecture_parameters.py",
        r"return gates\.sample\(rng, self\.probabilities\(\)\)",
        "return self.probabilities().argmax(axis=1)",
    ),
    HandPicked(
        "argmax instead of sampling, alpha",
        "nas_tf/search/state.py",
        r"gates\.sample\(rng, p\)",
        "p.argmax(axis=1)",
    ),
    HandPicked(
        "argmax instead of sampling, everywhere",
        "nas_tf/search/gates.py",
        r"return sample_many\(rng, p, 1\)\[0\]",
        "return p.argmax(axis=1)",
    ),
    HandPicked(
        "two with the full p",
        "nas_tf/search/state.py",
        r"involved_p = gates\.renormalised\(p, involved\)",
        "involved_p = p",
    ),
    HandPicked(
        "the cross-entropy's gradient negated",
        "nas_tf/search/state.py",
        r"gates\.alpha_gradient\(gate_gradient, involved_p\)",
        "-gates.alpha_gradient(gate_gradient, involved_p)",
    ),
    HandPicked(
        "the policy gradient negated",
        "nas_tf/search/state.py",
        r"loss, gradient = self\.reinforce\.gradient\((.*)\)\n",
        r"loss, gradient = self.reinforce.gradient(\1); gradient = -gradient\n",
    ),
    HandPicked(
        "latency gradient over all candidates in *two*",
        "nas_tf/search/state.py",
        r"self\.objective\.gradient\(found\.loss, found\.gradient, p, found\.p\)",
        "self.objective.gradient(found.loss, found.gradient, p, p)",
    ),
    HandPicked(
        "alpha moves for all candidates in *two*",
        "nas_tf/search/state.py",
        r"self\.parameters\.apply_gradient\(gradient, found\.involved\)",
        "self.parameters.apply_gradient(gradient, self.parameters.offered)",
    ),
    HandPicked(
        "weights and alpha draw the same",
        "nas_tf/search/state.py",
        r"_WEIGHT_DRAW, _ALPHA_DRAW, _UNTIE_DRAW = 0, 1, 2",
        "_WEIGHT_DRAW, _ALPHA_DRAW, _UNTIE_DRAW = 0, 0, 2",
    ),
    HandPicked(
        "the same draw in every step",
        "nas_tf/search/state.py",
        r"\(self\._config\.seed, step, kind\)",
        "(self._config.seed, kind)",
    ),
    HandPicked(
        "no normalization of weight images",
        "nas_tf/search/state.py",
        r"to_network_input\(images\),\n(\s+)labels,\n\s+active,\n\s+rate",
        r"tf.cast(images, tf.float32),\n\1labels,\n\1active,\n\1rate",
    ),
    HandPicked(
        "candidates never tied",
        "nas_tf/search/state.py",
        r"if step < self\._tied_steps else active",
        "if False else active",
    ),
    HandPicked(
        "candidates never set free",
        "nas_tf/search/state.py",
        r"if step \+ 1 == self\._tied_steps",
        "if False",
    ),
    HandPicked(
        "what fits no budget is kept",
        "nas_tf/search/problem.py",
        r"dropping\.affordable\(resources, in_space\)",
        "in_space",
    ),
    HandPicked(
        "alpha not moved to the target",
        "nas_tf/search/state.py",
        r"settle\(self\.parameters, self\.objective\)",
        "pass",
    ),
    HandPicked(
        "derivation without the budget",
        "nas_tf/search/problem.py",
        r"self\.resources if limited else \(\)",
        "()",
    ),
    HandPicked(
        "the gates' gradient of the active path negated",
        "nas_tf/supernet/graph_steps.py",
        r"tf\.stack\(\[product\(\*pair\)",
        "tf.stack([-product(*pair)",
    ),
    HandPicked(
        "the gates' gradient of other paths negated",
        "nas_tf/supernet/places.py",
        r"lambda form: form\.gate\(x,",
        "lambda form: -form.gate(x,",
    ),
    HandPicked(
        "label smoothing in alpha's loss",
        "nas_tf/supernet/graph_steps.py",
        r"cross_entropy\(self\._logits\(logits\), labels\)",
        "cross_entropy(self._logits(logits), labels, 0.1)",
    ),
    HandPicked(
        "momentum without Nesterov", "nas_tf/train/optimizers.py", r"use_nesterov=True", "use_nesterov=False"
    ),
    HandPicked(
        "moving averages are not kept",
        "nas_tf/supernet/graph_steps.py",
        r"tf\.raw_ops\.AssignVariableOp\(resource=handle, value=statistics\)",
        "pass",
    ),
    HandPicked(
        "decay of batch norm too",
        "nas_tf/train/optimizers.py",
        r"return variable\.shape\.rank > 1",
        "return True",
    ),
    HandPicked(
        "background with the label's place unshifted",
        "export/model_accuracy.py",
        r"np\.array\(prepared\.matching\.order\) \+ prepared\.background",
        "np.array(prepared.matching.order)",
    ),
    HandPicked(
        "background behind the classes",
        "export/background.py",
        r"np\.concatenate\(\[front, values\], axis=-1\)",
        "np.concatenate([values, front], axis=-1)",
    ),
    HandPicked(
        "biases not rounded to the accumulator's grid",
        "quant/bias.py",
        r"bias\.assign\(rounded\.astype\(np\.float32\)\)",
        "pass",
    ),
    HandPicked(
        "kernels not rounded to their grid",
        "quant/bias.py",
        r"kernel\.kernel\.assign\(_on_grid\(kernel\)\)",
        "pass",
    ),
)


class Equivalent(NamedTuple):
    """Why a surviving change does not matter.

    `name` is the file's name alone, so that it may move; `old` and `new` are lines as stripped text,
    "" for an added or dropped one.
    """

    name: str
    old: str
    new: str
    why: str


EQUIVALENT: tuple[Equivalent, ...] = (
    Equivalent(
        "gates.py",
        "empty = rest.sum(axis=1) < 1e-300",
        "empty = rest.mean(axis=1) < 1e-300",
        "probabilities are 0 or far above this bound, and a mean of at most ten is not far from their sum",
    ),
    Equivalent(
        "objective.py",
        "return float(self.fixed + low), float(self.fixed + high)",
        "return (self.fixed + low), float(self.fixed + high)",
        "a number of numpy's instead of Python's, which compares and prints alike",
    ),
    Equivalent(
        "accuracy.py",
        "own = np.take_along_axis(logits, labels[:, np.newaxis], axis=1)",
        "own = np.take_along_axis(logits, labels[:, np.newaxis])",
        "axis 1 is the last one, which is the default of the NumPy that is installed; older ones demand it",
    ),
    Equivalent(
        "equalization.py",
        "return layer.max_value is not None and not float(layer.negative_slope) "
        "and not float(layer.threshold)",
        "return layer.max_value is not None and not float(layer.negative_slope) and not (layer.threshold)",
        "an array of one number is false where the number is 0",
    ),
    Equivalent(
        "background.py",
        "gap * float(classifier.input.scales[0]) * float(scales[index]) "
        "/ (float(classifier.output.scales[0]))",
        "gap * float(classifier.input.scales[0]) * (scales[index]) / (float(classifier.output.scales[0]))",
        "float32 instead of float64 in one factor: a relative error of 1e-7 in a bound of whole steps",
    ),
    Equivalent(
        "graph_steps.py",
        "self._nothing = tf.zeros([0]), tf.zeros([0], tf.int32)",
        "self._nothing = tf.zeros([0]), tf.ones([0], tf.int32)",
        "a tensor without elements",
    ),
    Equivalent(
        "chains.py",
        "mean, variance = averages or (tf.zeros([0]), tf.zeros([0]))",
        "mean, variance = averages or (tf.zeros([0]), tf.ones([0]))",
        "a tensor without elements",
    ),
    Equivalent(
        "paths.py",
        "self.built = True",
        "pass",
        "only spares Keras a call of `build`, which the layer does not have",
    ),
    Equivalent(
        "reconstruction.py",
        "progress.update(count, error=errors[kernel.source][1])",
        "pass",
        "what is shown while it works; the result is the same",
    ),
    Equivalent(
        "paths.py",
        "output_dtype=chain.layers[-1].compute_dtype,",
        "output_dtype=chain.layers[(1)].compute_dtype,",
        "it is asked for zeros in place of a block, whose layers all compute in one dtype",
    ),
    Equivalent(
        "architecture_parameters.py",
        'self._steps = self.add_weight("steps", (), tf.int64, "zeros", trainable=False)',
        'self._steps = self.add_weight("steps", (), tf.int64, "zeros")',
        "nobody asks this layer for its trainable weights",
    ),
    Equivalent(
        "int8.py",
        "return np.clip(rounding(steps), -KERNEL_HIGH, KERNEL_HIGH)",
        "return (rounding(steps))",
        "in compensated rounding alone: what follows starts from it and clips again",
    ),
    Equivalent(
        "integer_model.py",
        "return tf.round(tf.clip_by_value(accumulator * multiplier, float(grid.low), float(grid.high)))",
        "return tf.round(tf.clip_by_value(accumulator * multiplier, (grid.low), float(grid.high)))",
        "TensorFlow takes a whole number for the same bound",
    ),
    Equivalent(
        "integer_model.py",
        "return _requantize(total, multiplier, out)",
        "return _requantize(multiplier, total, out)",
        "the two are multiplied with each other",
    ),
    Equivalent(
        "convert_run.py",
        'facts |= {"scale": float(tensor.scales[0]), "zero_point": int(tensor.zero_points[0])}',
        'facts |= {"scale": (tensor.scales[0]), "zero_point": int(tensor.zero_points[0])}',
        "the reader's float64 is a Python float too, and is written alike",
    ),
    Equivalent(
        "model_accuracy.py",
        'require(config.batch_size > 0, f"The batch size must be at least 1, not {config.batch_size}.")',
        'require(config.batch_size >= 0, f"The batch size must be at least 1, not {config.batch_size}.")',
        "the batches refuse 0 with the same sentence; here it is refused before a model is opened",
    ),
    Equivalent(
        "converter.py",
        "function = tf.function(lambda image: model(image, training=False))",
        "function = tf.function(lambda image: model(image))",
        "inference is what a Keras model does unless it is told to train",
    ),
    Equivalent(
        "classifier.py",
        "run = tf.function(lambda images: answer(to_network_input(images), training=False), "
        "reduce_retracing=True)",
        "run = tf.function(lambda images: answer(to_network_input(images)), reduce_retracing=True)",
        "inference is what a Keras model does unless it is told to train",
    ),
    Equivalent(
        "supernet.py",
        "x = self.first.join(x, self.first(x, training=training))",
        "x = self.first.join(x, self.first(x))",
        "Keras hands the outer call's `training` on to the layers inside of it",
    ),
)

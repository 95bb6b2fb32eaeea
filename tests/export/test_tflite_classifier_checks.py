"""What a classifier's tensors have to be."""

import pathlib

import numpy as np
import pytest

from export import tflite_classifier
from export.tflite_classifier import TFLiteClassifier
from nas_tf.errors import UserError
from quant.flatbuffer import Graph, Tensor


def _tensor(dtype="uint8", shape=(1, 8, 8, 3), scales=(0.1,)):
    return Tensor(0, "t", dtype, shape, np.array(scales), np.zeros(len(scales), np.int64), 0, None)


@pytest.fixture
def opened(monkeypatch):
    """`opened(inputs, outputs)`: a classifier of a file with these tensors, which never runs."""
    def open_it(inputs, outputs, **given):
        tensors = (*inputs, *outputs)
        graph = Graph("main", tensors, (), tuple(range(len(inputs))),
                      tuple(range(len(inputs), len(tensors))))
        monkeypatch.setattr(tflite_classifier.flatbuffer, "read_file",
                            lambda path: type("File", (), {"main": graph}))
        monkeypatch.setattr(TFLiteClassifier, "_load", lambda self: None)
        return TFLiteClassifier(pathlib.Path("m.tflite"), **given)
    return open_it


SCORES = _tensor(shape=(1, 5))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float32"])
def test_square_images_of_three_types_are_taken(opened, dtype):
    made = opened([_tensor(dtype)], [_tensor(dtype, (1, 1, 1, 5))])
    assert (made.resolution, made.num_outputs, made.input_type) == (8, 5, dtype)


@pytest.mark.parametrize("image", [
    _tensor(shape=(2, 8, 8, 3)), _tensor(shape=(1, 8, 9, 3)), _tensor(shape=(1, 0, 0, 3)),
    _tensor(shape=(1, 8, 8, 1)), _tensor(shape=(1, 8, 8, 4)), _tensor(shape=(8, 8, 3)),
    _tensor(shape=(1, 8, 8, 3, 1)), _tensor("int16"), _tensor("float64")])
def test_other_inputs_are_refused(opened, image):
    with pytest.raises(UserError, match=r"'m.tflite' takes \w+ \[.*\]; needed is one square"):
        opened([image], [SCORES])


@pytest.mark.parametrize("scales", [(), (0.0,), (-0.1,), (0.1, 0.1)])
def test_an_integer_input_needs_one_scale(opened, scales):
    with pytest.raises(UserError, match="integer input without a scale"):
        opened([_tensor(scales=scales)], [SCORES])
    if not scales:
        assert opened([_tensor("float32", scales=scales)], [SCORES]).input_type == "float32"


@pytest.mark.parametrize("scores", [_tensor(shape=(2, 5)), _tensor(shape=(1, 2, 5)),
                                    _tensor("int64", (1, 5))])
def test_other_outputs_are_refused(opened, scores):
    with pytest.raises(UserError, match=r"gives \w+ \[.*\]; needed are class scores \[1, classes\]"):
        opened([_tensor()], [scores])


@pytest.mark.parametrize("inputs, outputs", [(2, 1), (1, 2), (2, 2), (0, 1), (1, 0)])
def test_one_input_and_one_output(opened, inputs, outputs):
    with pytest.raises(UserError, match=f"has {inputs} inputs and {outputs} outputs; .* one of each"):
        opened([_tensor()] * inputs, [SCORES] * outputs)


def test_unknown_kernels_are_refused_by_name(opened):
    with pytest.raises(UserError, match="kernels='mps'; allowed: "):
        opened([_tensor()], [SCORES], kernels="mps")


def test_scores_come_in_the_order_of_the_images(opened):
    made = opened([_tensor()], [SCORES], num_workers=3)
    made._one = lambda image: np.full(5, image)
    assert made(np.arange(20))[:, 0].tolist() == list(range(20))


def test_every_thread_has_an_interpreter_and_keeps_it(opened, monkeypatch):
    made = opened([_tensor()], [SCORES], num_workers=2)
    loads = []
    monkeypatch.setattr(TFLiteClassifier, "_load", lambda self: loads.append(1) or object())
    assert made._interpreter() is made._interpreter()  # this thread's was loaded at the start
    assert not loads
    both = {made._pool.submit(made._interpreter).result() for _ in range(8)}
    assert len(both) == len(loads) <= 2
    made.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        made(np.arange(2))

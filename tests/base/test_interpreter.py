"""Opening a file: by path or content, by either kernels, and what is said of one that does not run."""

import pathlib
import re
import struct

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.base.interpreter import KERNELS, open_interpreter, refusing, require_kernels

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def _content(side) -> bytes:
    """A file that doubles its input float32 [1, side, 3]."""
    import tensorflow as tf

    from nas_tf.base.quiet import quiet

    function = tf.function(lambda x: x + x).get_concrete_function(tf.TensorSpec((1, side, 3), tf.float32))
    with quiet():
        return tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()


@pytest.fixture(scope="module", name="content")
def content_fixture() -> bytes:
    return _content(2)


def _run(interpreter, x):
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize("kernels", KERNELS)
def test_content_and_path_are_the_same_file(content, kernels, tmp_path):
    path = tmp_path / "double.tflite"
    path.write_bytes(content)
    x = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    for model in (content, path, str(path)):
        np.testing.assert_array_equal(_run(open_interpreter(model, "model", kernels), x), 2 * x)


def test_kernels_are_those_that_were_asked_for(content):
    # A delegate takes the file's one operator, so that it stands in the list of nodes a second time.
    nodes = {k: len(open_interpreter(content, "m", k)._get_ops_details()) for k in KERNELS}
    assert nodes == {"builtin": 1, "xnnpack": 2}


def test_an_open_size_is_set():
    interpreter = open_interpreter(_content(None), "model", input_shape=[1, 5, 3])
    assert list(interpreter.get_input_details()[0]["shape"]) == [1, 5, 3]
    assert _run(interpreter, np.ones((1, 5, 3), np.float32)).sum() == 30


def test_unknown_kernels_are_refused_before_the_file_is_read():
    with pytest.raises(UserError, match="^kernels='neon'; allowed: builtin, xnnpack.$"):
        open_interpreter("/nowhere", "model", "neon")
    with pytest.raises(UserError, match="allowed: builtin, xnnpack"):
        require_kernels("")


@pytest.mark.parametrize("damage", ["no file", "text", "cut short"])
def test_a_file_that_does_not_run_is_named_in_one_line(content, damage, tmp_path):
    model = {
        "no file": tmp_path / "absent.tflite",
        "text": b"no flatbuffer at all",
        "cut short": struct.pack("<I", 28) + b"TFL3" + b"\xff" * 200,
    }[damage]
    with pytest.raises(UserError) as caught:
        open_interpreter(model, "model 'a.tflite'")
    message = str(caught.value)
    assert message.startswith("The model 'a.tflite' does not run here: ")
    assert "\n" not in message and re.search(r"[^.]\.$", message)


def test_what_the_runtime_raises_becomes_one_sentence_and_nothing_else_does():
    with pytest.raises(UserError, match="^The file does not run here: a b.$"), refusing("file"):
        raise RuntimeError("a\n  b.\n")
    with pytest.raises(KeyError), refusing("file"):
        raise KeyError("ours")


def test_no_other_file_opens_an_interpreter():
    found = [
        str(path.relative_to(REPOSITORY))
        for room in ("nas_tf", "quant", "export", "flags", "benchmarks")
        for path in (REPOSITORY / room).rglob("*.py")
        if re.search(r"\bInterpreter\(", path.read_text(encoding="utf-8"))
    ]
    assert found == ["nas_tf/base/interpreter.py"]

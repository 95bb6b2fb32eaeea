"""Model folders: what comes back, and what is said of those that are damaged."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.network import model_folder
from nas_tf.network.build import build_network
from nas_tf.space.search_space import TINY

LABELS = tuple("abcdefghij")


def _architecture(candidate: int):
    return TINY.architecture(tuple(choice.specs[candidate].operation for choice in TINY.choices(16)))


DESCRIPTION = model_folder.ModelDescription("float", _architecture(0), 16, 10, LABELS, 18)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(folder, the model that was saved there)."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    folder.mkdir()
    model = build_network(DESCRIPTION.architecture, 16, 10)
    model_folder.save_model(folder, model, DESCRIPTION)
    return folder, model


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved[0], tmp_path / "model")


def _rewrite(folder, **changes) -> None:
    path = folder / model_folder.DESCRIPTION_FILE
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))


def _refusal(call, *args) -> str:
    with pytest.raises(UserError) as refusal:
        call(*args)
    return str(refusal.value)


def test_a_model_comes_back_as_it_was_saved(saved):
    folder, model = saved
    again, description = model_folder.load_float_model(folder)
    assert description == DESCRIPTION
    for ours, theirs in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_folders_from_before_labels_said_whether_they_are_names(copied):
    _rewrite(copied, named=...)
    assert model_folder.read_description(copied).named
    _rewrite(copied, labels=[str(index) for index in range(10)])
    assert not model_folder.read_description(copied).named


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"format": "other/2"}, "has format 'other/2', kind 'float'; this version reads 'nas_tf.model/1' of"),
        ({"kind": "sparse"}, "kind 'sparse'; this version reads 'nas_tf.model/1' of kind float or qat."),
        ({"num_classes": 11}, "has 11 classes but 10 labels."),
        ({"resolution": ...}, "does not describe a model (KeyError('resolution'))."),
        ({"resolution": "wide"}, "does not describe a model (ValueError("),
        ({"labels": None}, "does not describe a model (TypeError("),
    ],
)
def test_a_description_that_says_something_else_is_refused(copied, changes, message):
    _rewrite(copied, **changes)
    found = _refusal(model_folder.read_description, copied)
    assert message in found and repr(str(copied / "model.json")) in found


def test_a_folder_without_a_description_is_no_model(tmp_path):
    found = _refusal(model_folder.load_float_model, tmp_path)
    assert found == f"{str(tmp_path)!r} is not a model folder: it has no model.json."


def test_a_quantized_model_is_not_taken_for_a_float_one(copied):
    _rewrite(copied, kind="qat")
    assert _refusal(model_folder.load_float_model, copied) == (
        f"{str(copied)!r} holds a qat model; a float model is needed here."
    )


def test_weights_of_another_network_are_refused(copied):
    _rewrite(copied, architecture=_architecture(1).to_json())
    found = _refusal(model_folder.load_float_model, copied)
    assert found.startswith(
        f"The weights {str(copied / model_folder.WEIGHTS_FILE)!r} do not fit their model.json: "
    )
    assert "\n" not in found


def test_weights_that_are_cut_short_are_refused(copied):
    path = copied / model_folder.WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:1000])
    assert "do not fit their model.json: " in _refusal(model_folder.load_float_model, copied)


def test_a_digest_is_equal_for_copies_and_follows_every_change(saved, copied):
    before = model_folder.digest(copied)
    assert before == model_folder.digest(saved[0])
    _rewrite(copied, resize_size=20)
    changed = model_folder.digest(copied)
    other = dataclasses.replace(DESCRIPTION, resize_size=20)
    assert changed != before and model_folder.read_description(copied) == other
    with open(copied / model_folder.WEIGHTS_FILE, "ab") as stream:
        stream.write(b"\0")
    assert model_folder.digest(copied) not in (before, changed)
    file = copied / "model.tflite"
    file.write_bytes(b"abc")  # SHA-256 of "abc", FIPS 180-2, appendix B.1
    assert model_folder.digest(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folder_without_weights_has_no_digest(copied):
    (copied / model_folder.WEIGHTS_FILE).unlink()
    assert _refusal(model_folder.digest, copied) == (
        f"The model folder {str(copied)!r} has no {model_folder.WEIGHTS_FILE}."
    )

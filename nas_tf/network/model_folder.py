"""A trained network on disk: a folder with `model.json` and `weights.weights.h5`.

`model.json` says all that is needed to rebuild the graph and to feed it, so the weights
file holds arrays only and nothing in it is executed.
"""

import dataclasses
import pathlib
from typing import Any

from nas_tf.base import files
from nas_tf.base.errors import UserError, quoted, require, shortened
from nas_tf.data import class_names
from nas_tf.space.architecture import Architecture, from_json

FORMAT = "nas_tf.model/1"
KINDS = ("float", "qat")
DESCRIPTION_FILE = "model.json"
# Keras' newer `.keras` format fails to load a network with fake quantizers.
WEIGHTS_FILE = "weights.weights.h5"
_MOST = 1_000_000  # pixels of a side, or classes; far above any network's


@dataclasses.dataclass(frozen=True)
class ModelDescription:
    """What a weights file belongs to.

    Attributes:
      kind: "float", or "qat" for a graph with fake quantizers.
      labels: one name per class.
      resize_size: short side before the centre crop to `resolution` in evaluation.
      has_background: whether class 0 is the background and every label shifts by one.
      quantization: settings of the fake-quant graph, for kind "qat".
      named: whether the labels are names, and not numbers in place of unknown names.
    """

    kind: str
    architecture: Architecture
    resolution: int
    num_classes: int
    labels: tuple[str, ...]
    resize_size: int
    has_background: bool = False
    quantization: dict[str, Any] = dataclasses.field(default_factory=dict)
    named: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dump`."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            "format": FORMAT,
            **fields,
            "architecture": self.architecture.to_json(),
            "labels": list(self.labels),
        }


def description_from_json(content: Any, where: str) -> ModelDescription:
    """The description in parsed JSON; `where` names the file in the `UserError`s."""
    try:
        require(
            content["format"] == FORMAT and content["kind"] in KINDS,
            f"The {where} has format {quoted(content['format'])}, kind {quoted(content['kind'])}; "
            f"this version reads {FORMAT!r} of kind {' or '.join(KINDS)}.",
        )
        description = ModelDescription(
            content["kind"],
            from_json(content["architecture"], where),
            _whole(content["resolution"], 1),
            _whole(content["num_classes"], 1),
            tuple(map(str, content["labels"])),
            _whole(content["resize_size"], 0),
            bool(content["has_background"]),
            dict(content["quantization"]),
            # Folders from before the entry existed do not say what their numbers are.
            bool(content.get("named", not class_names.are_numbers(content["labels"]))),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"The {where} does not describe a model ({shortened(repr(error))}).") from error
    require(
        description.num_classes == len(description.labels),
        f"The {where} has {description.num_classes} classes but {len(description.labels)} labels.",
    )
    return description


def _whole(value: Any, least: int) -> int:
    # To Python, JSON's true is 1.
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST:
        raise ValueError(f"{quoted(value)} is not a whole number from {least} to {_MOST:,}")
    return value


def read_description(folder: str | pathlib.Path) -> ModelDescription:
    """The description in a model folder."""
    path = pathlib.Path(folder) / DESCRIPTION_FILE
    require(path.is_file(), f"{str(folder)!r} is not a model folder: it has no {DESCRIPTION_FILE}.")
    return description_from_json(
        files.read_json(path, "model description"), f"model description {str(path)!r}"
    )


def digest(model: str | pathlib.Path) -> str:
    """What a model folder, or a model file, holds: equal for copies, another when it changed.

    Raises:
      UserError: it cannot be read, or the folder has no weights.
    """
    path = pathlib.Path(model)
    if not path.is_dir():
        return files.sha256(path)
    require((path / WEIGHTS_FILE).is_file(), f"The model folder {str(model)!r} has no {WEIGHTS_FILE}.")
    return f"{files.sha256(path / DESCRIPTION_FILE)}-{files.sha256(path / WEIGHTS_FILE)}"


def save_model(folder: str | pathlib.Path, model, description: ModelDescription) -> None:
    """Writes weights, then the description, each atomically."""
    folder = pathlib.Path(folder)
    with files.replacing(folder / WEIGHTS_FILE) as temporary:
        model.save_weights(temporary)
    # Last, because a folder without it counts as no model: a kill leaves no half model behind.
    files.write_json(folder / DESCRIPTION_FILE, description.to_json())


def load_weights(folder: str | pathlib.Path, model) -> None:
    """Fills `model`, built from the folder's description, with the folder's weights."""
    path = pathlib.Path(folder) / WEIGHTS_FILE
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"The weights {str(path)!r} do not fit their model.json: {reason}") from error


def load_float_model(folder: str | pathlib.Path):
    """The float network of a model folder.

    Returns:
      (keras.Model without dropout, its ModelDescription).
    """
    # TensorFlow comes with it, and a description is read without.
    from nas_tf.network.build import build_network

    description = read_description(folder)
    require(
        description.kind == "float",
        f"{str(folder)!r} holds a {description.kind} model; a float model is needed here.",
    )
    model = build_network(description.architecture, description.resolution, description.num_classes)
    load_weights(folder, model)
    return model, description

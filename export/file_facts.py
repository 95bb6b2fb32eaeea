"""What a `.tflite` file of ours says about itself: how its images are prepared.

`nas_tf.json` lies in the zip archive at the file's end, beside the labels, so that it cannot be
parted from the file. Files from before it existed are known by their run folder's receipt.
"""

import dataclasses
import json
import math
import pathlib
from typing import Any

from export import archive
from nas_tf.base import files
from nas_tf.base.errors import UserError, require
from nas_tf.base.run_folder import RunFolder, StageFolder
from nas_tf.data.config import PIXEL_MEAN, PIXEL_STD
from nas_tf.network import model_folder
from nas_tf.network.model_folder import ModelDescription

ENTRY = "nas_tf.json"
FORMAT = "nas_tf.file/1"
RECEIPT = "written.json"
# Far more than such an entry takes; it may be in anyone's file.
_MAX_BYTES = 1 << 16
_MAX_SIZE = 1 << 15
# The one way in which images are resized here, in words that a file carries for other readers.
RESIZE_METHOD = "bilinear, antialiased"
CROP_PLACE = "center"


@dataclasses.dataclass(frozen=True)
class FileFacts:
    """How images are prepared for a file, as for the model that it was made of.

    Attributes:
      input_mean, input_std: in pixel units, of a float input: (pixel − mean) / std.
      resize_size: short side before the centre crop, in pixels; 0: not known.
      named: whether the labels are names, and not numbers in place of unknown names.
      crop_size: side of the centre crop, in pixels; 0: not known.
      resize_method, crop_place: how the file was measured, in words for other readers.
    """

    input_mean: float = PIXEL_MEAN
    input_std: float = PIXEL_STD
    resize_size: int = 0
    named: bool = True
    crop_size: int = 0
    resize_method: str = RESIZE_METHOD
    crop_place: str = CROP_PLACE


def facts_of(description: ModelDescription) -> FileFacts:
    """The facts of a file made of the described model."""
    return FileFacts(
        resize_size=description.resize_size, named=description.named, crop_size=description.resolution
    )


def append(tflite_path: pathlib.Path, facts: FileFacts) -> None:
    """Appends the facts to a `.tflite` file."""
    content = {"format": FORMAT, **dataclasses.asdict(facts)}
    archive.append(tflite_path, ENTRY, json.dumps(content, indent=1) + "\n")


def read(tflite_path: str | pathlib.Path) -> FileFacts | None:
    """The facts of a file of ours, or None if it is not known as one.

    Raises:
      UserError: the file has such an entry, but a damaged one.
    """
    path = pathlib.Path(tflite_path)
    content = archive.read(path, ENTRY, _MAX_BYTES)
    return _from_stage(path) if content is None else _checked(content, path)


def _checked(content: str, path: pathlib.Path) -> FileFacts:
    try:
        given: Any = json.loads(content)
        require(given["format"] == FORMAT, _damaged(path))
        facts = FileFacts(
            float(given["input_mean"]),
            float(given["input_std"]),
            int(given["resize_size"]),
            bool(given["named"]),
            # Files of earlier versions do not say.
            int(given.get("crop_size", 0)),
            str(given.get("resize_method", RESIZE_METHOD)),
            str(given.get("crop_place", CROP_PLACE)),
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UserError(_damaged(path)) from error
    require(
        math.isfinite(facts.input_mean)
        and 0 < facts.input_std < math.inf
        and 0 <= facts.resize_size <= _MAX_SIZE
        and 0 <= facts.crop_size <= _MAX_SIZE,
        _damaged(path),
    )
    require(
        (facts.resize_method, facts.crop_place) == (RESIZE_METHOD, CROP_PLACE),
        f"The file {str(path)!r} was made for images resized by {facts.resize_method!r} and cropped at "
        f"{facts.crop_place!r}; this version knows {RESIZE_METHOD!r} and {CROP_PLACE!r}.",
    )
    return facts


def _damaged(path: pathlib.Path) -> str:
    return f"The entry {ENTRY} inside {str(path)!r} is not of format {FORMAT!r} or is damaged."


def _from_stage(path: pathlib.Path) -> FileFacts | None:
    """Facts of a file without the entry that a conversion stage wrote, by its receipt."""
    receipt = path.parent / RECEIPT
    if not receipt.is_file():
        return None
    held = files.read_json(receipt, "receipt of the conversion")
    if not isinstance(held, dict) or held.get("sha256") != files.sha256(path):
        return None
    description = _source_model(path.parent)
    # Nothing tells whether the labels are names, so classes are taken by their positions.
    return facts_of(description) if description else FileFacts(named=False)


def _source_model(stage: pathlib.Path) -> ModelDescription | None:
    """The model that a conversion stage worked on, if it is still there as it was."""
    settings, summary = (
        held.get("model", "") if isinstance(held, dict) else ""
        for held in (StageFolder(stage).settings(), StageFolder(stage).summary())
    )
    # The run folder may have moved since the summary was written.
    for folder in (str(summary), str(RunFolder(stage.parent).qat_model)):
        if folder and (pathlib.Path(folder) / model_folder.DESCRIPTION_FILE).is_file():
            try:
                # Only unchanged: made anew, it may have another crop.
                if model_folder.digest(folder) == settings:
                    return model_folder.read_description(folder)
            except UserError:
                # Damaged; the other place may hold it whole.
                continue
    return None

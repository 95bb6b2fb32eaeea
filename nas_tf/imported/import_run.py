"""The import: a published network becomes a float model folder like the train stage's."""

import dataclasses
import pathlib
from typing import Any

from nas_tf import files, model_folder
from nas_tf.errors import UserError, require
from nas_tf.imported import proxyless_config, torch_file
from nas_tf.imported.weights import SCALINGS, StateDict, fill
from nas_tf.run_folder import open_stage

# The train stage's folder: what follows goes on from an import as from a training.
STAGE = "train"
_MIN_RESOLUTION = 8


@dataclasses.dataclass(frozen=True)
class ImportConfig:
    """Settings of an import.

    Attributes:
      config, checkpoint: published files.
      input_scaling: what the network was trained on, a key of `SCALINGS`.
      resolution: input side; 0 means what the configuration says.
      resize_size: short side before the centre crop; 0 means resolution · 256 / 224.
      labels: file of one class name a line; "" numbers the classes.
    """

    config: str
    checkpoint: str
    input_scaling: str = "half"
    resolution: int = 0
    resize_size: int = 0
    labels: str = ""


def run_import(workdir: str, config: ImportConfig) -> dict[str, Any]:
    """Reads, converts and writes `<workdir>/train/model`; returns the summary.

    Raises:
      UserError: a file that cannot be read or trusted, or that does not fit the other.
    """
    require(config.input_scaling in SCALINGS,
            f"--input_scaling={config.input_scaling!r} is not one of {', '.join(SCALINGS)}.")
    network = proxyless_config.read_config(config.config)
    tensors = torch_file.read_tensors(config.checkpoint)
    resolution = config.resolution or network.resolution
    require(bool(resolution), f"The configuration {config.config!r} does not say the resolution; "
            "give --resolution.")
    require(resolution >= _MIN_RESOLUTION, f"--resolution={resolution} is too small; "
            f"allowed: {_MIN_RESOLUTION} or more.")
    resize_size = config.resize_size or round(resolution * 256 / 224)
    require(resize_size >= resolution,
            f"--resize_size={resize_size} is smaller than the resolution {resolution}.")
    labels = _labels(config.labels, network.num_classes)
    stage = open_stage(workdir, STAGE, {"imported": dataclasses.asdict(config)})
    done = stage.summary()
    if done is not None:
        return done
    model, architecture = build(network, tensors, config.input_scaling, resolution)
    model_folder.save_model(stage.path / "model", model, model_folder.ModelDescription(
        "float", architecture, resolution, network.num_classes, labels, resize_size,
        named=bool(config.labels)))
    files.write_json(stage.path / "architecture.json", architecture.to_json())
    summary = {
        "architecture": architecture.to_string(), "model": str(stage.path / "model"),
        "params": architecture.params(network.num_classes),
        "macs": architecture.macs(resolution, network.num_classes), "tensors": len(tensors),
        "resolution": resolution, "resize_size": resize_size, "num_classes": network.num_classes,
        "input_scaling": config.input_scaling}
    stage.write_summary(summary)
    return summary


def build(network: proxyless_config.ImportedNetwork, tensors: dict, scaling: str, resolution: int):
    """The network with its weights, reading (uint8 − 128) / 128.

    Returns:
      (keras.Model, its Architecture, whose image border is their input's zero in ours).
    """
    from nas_tf.tensors.network import build_network

    border = tuple(float(v) for v in SCALINGS[scaling].zero())
    architecture = dataclasses.replace(network.architecture, image_border=border)
    model = build_network(architecture, resolution, network.num_classes)
    fill(model, StateDict(tensors, "checkpoint"), network.bn_epsilon, SCALINGS[scaling])
    return model, architecture


def _labels(path: str, num_classes: int) -> tuple[str, ...]:
    if not path:
        return tuple(str(index) for index in range(num_classes))
    try:
        labels = tuple(pathlib.Path(path).read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise UserError(f"Cannot read the label file {path!r}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"The label file {path!r} is not UTF-8 text.") from error
    require(len(labels) == num_classes,
            f"The label file {path!r} has {len(labels)} lines; the network has {num_classes} "
            "classes.")
    return labels

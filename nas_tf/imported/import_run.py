"""The import: a published network becomes a float model folder like the train stage's."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

from nas_tf.base import files
from nas_tf.base.clock import Clock
from nas_tf.base.errors import UserError, require
from nas_tf.base.run_folder import TRAIN, open_stage
from nas_tf.imported import proxyless_config, torch_file
from nas_tf.imported.weights import SCALINGS, StateDict, fill
from nas_tf.network import model_folder
from nas_tf.space.architecture import Architecture

if TYPE_CHECKING:
    import tf_keras as keras

_MIN_RESOLUTION = 8
BACKGROUNDS = ("auto", "first", "none")
_WITH_BACKGROUND = 1001  # outputs: ImageNet's classes behind a background, by TensorFlow's custom
_BACKGROUND_NAMES = ("background", "dummy")


@dataclasses.dataclass(frozen=True)
class ImportConfig:
    """Settings of an import.

    Attributes:
      config, checkpoint: published files.
      input_scaling: what the network was trained on, a key of `SCALINGS`.
      resolution: input side; 0 means what the configuration says.
      resize_size: short side before the centre crop; 0 means resolution · 256 / 224.
      labels: file of one class name per line, background's included or not; "" numbers them.
      background: which output is a background class, to be dropped: one of `BACKGROUNDS`;
        "auto": the first of 1001.
    """

    config: str
    checkpoint: str
    input_scaling: str
    resolution: int = 0
    resize_size: int = 0
    labels: str = ""
    background: str = "auto"


# Settings that imports of earlier versions do not hold: their defaults.
_NEWER = {"imported.background": ImportConfig.background}


def run_import(workdir: str, config: ImportConfig) -> dict[str, Any]:
    """Reads, converts and writes `<workdir>/train/model`; returns the summary.

    Raises:
      UserError: a file that cannot be read or trusted, or that does not fit the other.
    """
    require(
        config.input_scaling in SCALINGS,
        f"--input_scaling={config.input_scaling!r} is not one of {', '.join(SCALINGS)}.",
    )
    require(
        config.background in BACKGROUNDS,
        f"--background={config.background!r} is not one of {', '.join(BACKGROUNDS)}.",
    )
    # Both files are read before the folder holds these settings: a mistake in one should not block it.
    network = proxyless_config.read_config(config.config)
    tensors = torch_file.read_tensors(config.checkpoint)
    resolution, resize_size = _sizes(config, network)
    dropped = drops_background(config.background, network.num_classes)
    num_classes = network.num_classes - dropped
    labels = _labels(config.labels, num_classes, dropped)
    # The train stage's folder: what follows goes on from an import as from a training.
    stage = open_stage(workdir, TRAIN, {"imported": dataclasses.asdict(config)}, _NEWER)
    done = stage.summary()
    if done is not None:
        return done
    clock = Clock()
    model, architecture = build(network, tensors, config.input_scaling, resolution, dropped)
    model_folder.save_model(
        stage.model,
        model,
        model_folder.ModelDescription(
            "float", architecture, resolution, num_classes, labels, resize_size, named=bool(config.labels)
        ),
    )
    files.write_json(stage.architecture, architecture.to_json())
    summary = {
        "architecture": architecture.to_string(),
        "model": str(stage.model),
        "params": architecture.params(num_classes),
        "macs": architecture.macs(resolution, num_classes),
        "tensors": len(tensors),
        "resolution": resolution,
        "resize_size": resize_size,
        "num_classes": num_classes,
        "input_scaling": config.input_scaling,
        "background_dropped": dropped,
        "seconds": clock.seconds(),
    }
    stage.write_summary(summary)
    return summary


def _sizes(config: ImportConfig, network: proxyless_config.ImportedNetwork) -> tuple[int, int]:
    """Input side, and short side before the centre crop."""
    resolution = config.resolution or network.resolution
    if not resolution:
        raise UserError(
            f"The configuration {config.config!r} does not say the resolution; give --resolution."
        )
    require(
        resolution >= _MIN_RESOLUTION,
        f"--resolution={resolution} is too small; allowed: {_MIN_RESOLUTION} or more.",
    )
    # As the published networks were evaluated.
    resize_size = config.resize_size or round(resolution * 256 / 224)
    require(
        resize_size >= resolution, f"--resize_size={resize_size} is smaller than the resolution {resolution}."
    )
    return resolution, resize_size


def drops_background(background: str, num_outputs: int) -> bool:
    """Whether output 0 of a network is a background class, which an import leaves out.

    Datasets have no images of it, so nothing could be fine-tuned with it; the other outputs keep
    their order, and the order of the remaining ones' logits is what it was.
    """
    drop = background == "first" or background == "auto" and num_outputs == _WITH_BACKGROUND
    require(
        not drop or num_outputs > 2,
        f"--background={background} leaves fewer than 2 of {num_outputs} classes.",
    )
    return drop


def build(
    network: proxyless_config.ImportedNetwork,
    tensors: dict,
    scaling: str,
    resolution: int,
    drop_background: bool = False,
) -> tuple["keras.Model", Architecture]:
    """The network with its weights, reading (uint8 − 128) / 128.

    Args:
      drop_background: whether the first output is left out.

    Returns:
      (keras.Model, its Architecture, whose image border is their input's zero in ours).
    """
    # Here, because all that comes before needs no TensorFlow.
    from nas_tf.network.build import build_network

    red, green, blue = (float(value) for value in SCALINGS[scaling].zero())
    architecture = dataclasses.replace(network.architecture, image_border=(red, green, blue))
    model = build_network(architecture, resolution, network.num_classes - drop_background)
    fill(model, StateDict(tensors, "checkpoint"), network.bn_epsilon, SCALINGS[scaling], drop_background)
    return model, architecture


def _labels(path: str, num_classes: int, dropped: bool) -> tuple[str, ...]:
    if not path:
        return tuple(str(index) for index in range(num_classes))
    try:
        labels = tuple(pathlib.Path(path).read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise UserError(f"Cannot read the label file {path!r}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"The label file {path!r} is not UTF-8 text.") from error
    # Label files count the background or not; one that does has to say so in its first line.
    if dropped and len(labels) == num_classes + 1:
        require(
            any(name in labels[0].lower() for name in _BACKGROUND_NAMES),
            f"Output 0 is to be dropped as background, but the label file {path!r} calls it "
            f"{labels[0]!r:.60}; give --background=none if it is a class like the others.",
        )
        return labels[1:]
    require(
        len(labels) == num_classes,
        f"The label file {path!r} has {len(labels)} lines; the network has {num_classes} "
        f"classes{' without background' if dropped else ''}.",
    )
    return labels

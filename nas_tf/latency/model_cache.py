"""A folder of converted models, so that each is converted once."""

import functools
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from nas_tf.base import files
from nas_tf.base.progress import Progress
from nas_tf.base.quiet import quiet
from nas_tf.space.architecture import Architecture
from nas_tf.space.layer_spec import LayerSpec

if TYPE_CHECKING:
    import tf_keras as keras

EMPTY = "empty graph"
# Name of a model → function that builds it in Keras. The name must describe the model fully,
# since it is all that decides whether a file can be reused.
Builders = dict[str, Callable[[], "keras.Model"]]


class ModelCache:
    """Finds or makes the `.tflite` of a description.

    Args:
      folder: made if absent; safe to delete at any time.
      dtype: data type of every model asked for.
    """

    def __init__(self, folder: str | pathlib.Path, dtype: str):
        self.folder = files.make_folder(folder)
        self._dtype = dtype

    def path(self, name: str) -> pathlib.Path:
        """Where the model called `name` lies once it is there."""
        # Names are long and hold characters that file names may not.
        digest = hashlib.sha256(f"{self._dtype} {name}".encode()).hexdigest()[:24]
        return self.folder / f"{digest}.tflite"

    def missing(self, names: list[str]) -> list[str]:
        """Those that are still to be converted."""
        return [name for name in names if not self.path(name).exists()]

    def convert(self, builders: Builders) -> dict[str, pathlib.Path]:
        """Converts what is missing, with progress; name → file of all."""
        start = len(builders) - len(self.missing(list(builders)))
        with Progress("convert models", len(builders), start) as progress:
            for step, _ in enumerate(self._fill(builders), start + 1):
                progress.update(step)
        return {name: self.path(name) for name in builders}

    def _fill(self, builders: Builders) -> Iterator[str]:
        missing = self.missing(list(builders))
        if not missing:
            return
        with quiet():
            import tf_keras as keras

            from nas_tf.latency.small_models import convert

        for name in missing:
            files.write_bytes(self.path(name), convert(builders[name](), self._dtype))
            keras.backend.clear_session()  # else Keras keeps every model to the end
            yield name


def layer_builders(specs: Iterable[LayerSpec]) -> Builders:
    """Each layer that costs something as a model of its own, and the empty graph."""
    keyed = {spec.key: spec for spec in specs if spec.key is not None}
    return {
        EMPTY: functools.partial(_layer_model, None),
        **{key: functools.partial(_layer_model, spec) for key, spec in keyed.items()},
    }


def network_name(architecture: Architecture | None, resolution: int, num_classes: int) -> str:
    """Name of a whole network's model; without a network, what all such names begin with."""
    return f"network {resolution} {num_classes} {architecture.to_string() if architecture else ''}"


def network_builders(
    architectures: Iterable[Architecture],
    resolution: int,
    num_classes: int,
) -> Builders:
    """Whole networks, [N,H,W,3] → [N,num_classes], by `network_name`."""
    return {
        network_name(a, resolution, num_classes): functools.partial(
            _network_model, a, resolution, num_classes
        )
        for a in architectures
    }


# TensorFlow is imported when the first model is built: never if all files are there.
def _layer_model(spec: LayerSpec | None) -> "keras.Model":
    from nas_tf.latency import small_models

    return small_models.entry_model(spec) if spec else small_models.empty_model()


def _network_model(architecture: Architecture, resolution: int, num_classes: int) -> "keras.Model":
    from nas_tf.network.build import build_network

    return build_network(architecture, resolution, num_classes)

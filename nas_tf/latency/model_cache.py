"""A folder of converted models, so that each is converted once."""

import hashlib
import pathlib
from typing import Callable, Iterator, Mapping

from nas_tf import files


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
        digest = hashlib.sha256(f"{self._dtype} {name}".encode()).hexdigest()[:24]
        return self.folder / f"{digest}.tflite"

    def missing(self, names: list[str]) -> list[str]:
        """Those that are still to be converted."""
        return [name for name in names if not self.path(name).exists()]

    def fill(self, builders: Mapping[str, Callable[[], "keras.Model"]]) -> Iterator[str]:
        """Converts what is missing; yields each name when its file is there.

        Args:
          builders: name → function that builds the Keras model. The name must describe it
            fully, since it is all that decides whether a file can be reused.
        """
        missing = self.missing(list(builders))
        if not missing:
            return
        import tf_keras as keras  # pylint: disable=import-outside-toplevel

        from nas_tf.latency.small_models import convert  # pylint: disable=import-outside-toplevel

        for name in missing:
            files.write_bytes(self.path(name), convert(builders[name](), self._dtype))
            keras.backend.clear_session()
            yield name

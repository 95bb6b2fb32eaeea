"""TensorFlow's start without its start-up lines."""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from nas_tf.base.quiet import quiet


class _QuietStart(importlib.abc.MetaPathFinder):
    """Imports TensorFlow, once, with what it prints held back."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The specification of TensorFlow, nothing for any other module."""
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)  # else the search below would end here again
        spec = importlib.util.find_spec(fullname)
        # A folder of this name without any code in it has no loader.
        if spec is not None and spec.loader is not None:
            # Changed and not wrapped, because TensorFlow's files are found through its own loader.
            loader: Any = spec.loader
            loader.exec_module = _quietly(loader.exec_module)
        return spec


def _quietly(exec_module: Callable[[types.ModuleType], None]) -> Callable[[types.ModuleType], None]:
    def run(module: types.ModuleType) -> None:
        with quiet():
            exec_module(module)
            # Looking for devices prints again, otherwise at the first operation.
            module.config.list_physical_devices()

    return run


def quiet_tensorflow() -> None:
    """Holds back what TensorFlow will print when it is imported.

    Nothing is held back if the user has said how much to log (`TF_CPP_MIN_LOG_LEVEL`), or if
    the import fails.
    """
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"  # errors only
        sys.meta_path.insert(0, _QuietStart())

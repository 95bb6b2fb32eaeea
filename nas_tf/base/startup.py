"""TensorFlow's start without its start-up lines."""

import importlib.abc
import importlib.util
import os
import sys

from nas_tf.base.quiet import quiet


class _QuietStart(importlib.abc.MetaPathFinder):
    """Imports TensorFlow, once, with what it prints held back."""

    def find_spec(self, fullname, path, target=None):
        """The specification of TensorFlow, nothing for any other module."""
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None:
            spec.loader.exec_module = _quietly(spec.loader.exec_module)
        return spec


def _quietly(exec_module):
    def run(module):
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
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
        sys.meta_path.insert(0, _QuietStart())

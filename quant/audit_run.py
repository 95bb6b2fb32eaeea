"""Audits whatever is named: a `.tflite` file or a model folder."""

import pathlib

from nas_tf.base.errors import require
from nas_tf.network import model_folder
from quant import flatbuffer
from quant.audit_result import Audit


def run_audit(path: str) -> Audit:
    """The audit of a `.tflite` file, or of a fine-tuned model folder's Keras graph.

    Raises:
      UserError: neither of the two, or damaged.
    """
    if pathlib.Path(path).is_dir():
        description = model_folder.read_description(path)
        require(
            description.kind == "qat",
            f"{path!r} holds a {description.kind} model, which has no fake quantizers to "
            "audit; give a fine-tuned model or a .tflite file.",
        )
        # A model folder needs TensorFlow and tfmot; a file is read without them.
        from quant.audit_keras import audit_keras
        from quant.model import load_qat_model

        model, _ = load_qat_model(path)
        return audit_keras(model, path)
    from quant.audit_tflite import audit_flatbuffer

    return audit_flatbuffer(flatbuffer.read_file(path), path)

"""Small `.tflite` files as others make them, and TFLite metadata written field by field."""

import contextlib

import flatbuffers
import numpy as np

SIDE = 8
# Brightness of the classes' images; a network that knows them tells these apart.
CENTRES = (30.0, 95.0, 160.0, 225.0)


def nearest_brightness(mean, std, side=SIDE, channels=3):
    """A Keras network that reads x = (pixel − mean) / std and finds the nearest of `CENTRES`.

    −(p − c)² is largest for the nearest c; without p², the same for all, it is 2 c p − c², with
    p = std · x + mean averaged over channels.
    """
    import tf_keras as keras

    mean, std = (np.broadcast_to(np.array(v, np.float64), channels) for v in (mean, std))
    centres = np.array(CENTRES)
    sides = side if isinstance(side, tuple) else (side, side)
    image = keras.Input((*sides, channels))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    scores = keras.layers.Dense(len(CENTRES))
    model = keras.Model(image, scores(pooled))
    scores.set_weights(
        [np.outer(std / channels, 2 * centres) / 255**2, (2 * centres * mean.mean() - centres**2) / 255**2]
    )
    return model


def float_file(path, model, batch=1):
    """Converts with float input; `batch=None` or a side of None leaves sizes open."""
    import tensorflow as tf

    spec = tf.TensorSpec((batch, *model.inputs[0].shape[1:]), tf.float32)
    function = tf.function(lambda image: model(image)).get_concrete_function(spec)
    path.write_bytes(_converted(tf.lite.TFLiteConverter.from_concrete_functions([function], model)))
    return path


def integer_file(path, model, mean, std, dtype):
    """Post-training quantization on inputs that span what pixels can become."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    ends = [np.full((1, SIDE, SIDE, 3), value, np.float32) for value in (0, 255)]
    converter.representative_dataset = lambda: (
        [((end - np.array(mean)) / np.array(std)).astype(np.float32)] for end in ends
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.as_dtype(dtype)
    path.write_bytes(_converted(converter))
    return path


def _converted(converter) -> bytes:
    from nas_tf.base.quiet import quiet

    with quiet(), contextlib.suppress(AttributeError):
        return converter.convert()


def metadata(mean, std, label_file="", units=1) -> bytes:
    """ModelMetadata { subgraph_metadata [ { input_tensor_metadata [ { process_units [ … ] } ],
    output_tensor_metadata [ { associated_files [ … ] } ] } ] }, fields as in metadata_schema.fbs."""
    builder = flatbuffers.Builder(256)
    mean, std = _floats(builder, mean), _floats(builder, std)
    options = _table(builder, 2, {0: mean, 1: std})
    unit = _table(builder, 2, {1: options}, {0: 1})  # NormalizationOptions
    tensor = _table(builder, 7, {4: _offsets(builder, [unit] * units)})
    name = builder.CreateString(label_file)
    file = _table(builder, 5, {0: name}, {2: 2})  # TENSOR_AXIS_LABELS
    files = _offsets(builder, [file] if label_file else [])
    output = _table(builder, 7, {6: files})
    inputs, outputs = _offsets(builder, [tensor]), _offsets(builder, [output])
    graph = _table(builder, 10, {2: inputs, 3: outputs})
    root = _table(builder, 8, {3: _offsets(builder, [graph])})
    builder.Finish(root, file_identifier=b"M001")
    return bytes(builder.Output())


def with_metadata(path, content: bytes):
    """Puts a metadata buffer into the `.tflite` file."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"TFLITE_METADATA", len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def _floats(builder, values):
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return builder.EndVector()


def _offsets(builder, offsets):
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _table(builder, fields, offsets, numbers=None):
    builder.StartObject(fields)
    for field, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(field, offset, 0)
    for field, number in (numbers or {}).items():
        builder.PrependUint8Slot(field, number, 0)
    return builder.EndObject()

"""Reads TFLite metadata from a file's bytes alone: no code of the project, no generated classes.

A flatbuffer's table begins with the distance back to its vtable, whose entries of 16 bits say where each
field lies (https://flatbuffers.dev/internals/). Fields are found by their names, in the order of their
declarations in metadata_schema.fbs, a union taking two places.
"""

import io
import json
import struct
import zipfile

# As declared in the schemas; "[T]" a vector of tables, "string", "[float]", "byte", "uint".
SCHEMA = {
    "Model": ["version:uint", "operator_codes:skip", "subgraphs:skip", "description:string"]
    + ["buffers:[Buffer]", "metadata_buffer:skip", "metadata:[Metadata]"],
    "Buffer": ["data:bytes"],
    "Metadata": ["name:string", "buffer:uint"],
    "ModelMetadata": ["name:string", "description:string", "version:string"]
    + ["subgraph_metadata:[SubGraphMetadata]", "author:string", "license:string"]
    + ["associated_files:[AssociatedFile]", "min_parser_version:string"],
    "SubGraphMetadata": ["name:string", "description:string", "input_tensor_metadata:[TensorMetadata]"]
    + ["output_tensor_metadata:[TensorMetadata]", "associated_files:[AssociatedFile]"],
    "TensorMetadata": ["name:string", "description:string", "dimension_names:skip", "content:Content"]
    + ["process_units:[ProcessUnit]", "stats:Stats", "associated_files:[AssociatedFile]"],
    "Content": ["content_properties_type:byte", "content_properties:ImageProperties"],
    "ImageProperties": ["color_space:byte", "default_size:ImageSize"],
    "ImageSize": ["width:uint", "height:uint"],
    "ProcessUnit": ["options_type:byte", "options:NormalizationOptions"],
    "NormalizationOptions": ["mean:[float]", "std:[float]"],
    "Stats": ["max:[float]", "min:[float]"],
    "AssociatedFile": ["name:string", "description:string", "type:byte", "locale:string"],
}


def table(content: bytes, at: int, name: str) -> dict:
    """The fields that the table at this byte has."""
    vtable = at - struct.unpack_from("<i", content, at)[0]
    length = struct.unpack_from("<H", content, vtable)[0]
    found = {}
    for index, declared in enumerate(SCHEMA[name]):
        field, kind = declared.split(":")
        if 4 + 2 * index >= length:
            break
        offset = struct.unpack_from("<H", content, vtable + 4 + 2 * index)[0]
        if offset and kind != "skip":
            found[field] = _value(content, at + offset, kind)
    return found


def _value(content, at, kind):
    if kind == "byte":
        return content[at]
    (number,) = struct.unpack_from("<I", content, at)
    if kind == "uint":
        return number
    target = at + number
    if kind in SCHEMA:
        return table(content, target, kind)
    (length,) = struct.unpack_from("<I", content, target)
    start = target + 4
    if kind == "string":
        return content[start : start + length].decode()
    if kind == "bytes":
        return start, length
    if kind == "[float]":
        return list(struct.unpack_from(f"<{length}f", content, start))
    places = [start + 4 * i for i in range(length)]
    return [table(content, p + struct.unpack_from("<I", content, p)[0], kind[1:-1]) for p in places]


def model(content: bytes) -> dict:
    """The table Model of a `.tflite` file."""
    assert content[4:8] == b"TFL3"
    return table(content, struct.unpack_from("<I", content)[0], "Model")


def metadata(content: bytes) -> dict:
    """The table ModelMetadata of a `.tflite` file."""
    described = model(content)
    (entry,) = (e for e in described["metadata"] if e["name"] == "TFLITE_METADATA")
    start, length = described["buffers"][entry["buffer"]]["data"]
    held = content[start : start + length]
    assert held[4:8] == b"M001"
    return table(held, struct.unpack_from("<I", held)[0], "ModelMetadata")


def entry(content: bytes, name: str) -> bytes:
    """An entry of the archive at the file's end."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # Readers on phones map entries as they lie in the file.
        assert archive.getinfo(name).compress_type == zipfile.ZIP_STORED
        return archive.read(name)


def preparation(content: bytes) -> dict:
    """Resize and crop, which TFLite's schema has no fields for."""
    return json.loads(entry(content, "nas_tf.json"))

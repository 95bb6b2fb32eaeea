"""The metadata of a file of ours, read back by a reader that shares nothing with the writer."""

import numpy as np
import pytest

from export import labels, metadata_writer, tflite_metadata
from export.convert_run import ConvertConfig, run_convert
from export.tflite_classifier import TFLiteClassifier
from nas_tf.base.errors import UserError
from nas_tf.base.interpreter import KERNELS, open_interpreter
from quant import flatbuffer
from tests.export import plain_reader


@pytest.fixture(scope="module", name="files_by_type")
def _files_by_type(qat_folder, tmp_path_factory):
    """Contents of one network's files, by the type of their input."""
    root, found = tmp_path_factory.mktemp("types"), {}
    for dtype in ("uint8", "int8", "float32"):
        path = root / f"{dtype}.tflite"
        run_convert(
            "", ConvertConfig(str(qat_folder), str(path), input_type=dtype, author="A. Maker", version="2.1")
        )
        found[dtype] = path
    return found


def test_an_independent_reader_finds_everything(files_by_type):
    content = files_by_type["int8"].read_bytes()
    said = plain_reader.metadata(content)
    assert said["author"] == "A. Maker" and said["version"] == "2.1" and "license" not in said
    assert said["description"].startswith("Image classifier of 5 outputs, output 0 a background")
    assert said["min_parser_version"] == "1.0.0"
    (graph,) = said["subgraph_metadata"]
    (image,), (logits,) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    size = {"width": 16, "height": 16}
    # 1 of the union ContentProperties has no fields; 2 is ImageProperties.
    assert image["content"] == {
        "content_properties_type": 2,
        "content_properties": {"color_space": 1, "default_size": size},
    }
    assert image["process_units"] == [{"options_type": 1, "options": {"mean": [128.0], "std": [128.0]}}]
    assert image["stats"] == {"max": [127 / 128], "min": [-1.0]}
    assert "As int8: pixel - 128." in image["description"]
    (file,) = logits["associated_files"]
    assert (file["name"], file["type"]) == ("labels.txt", 2) and "locale" not in file
    assert plain_reader.entry(content, "labels.txt").decode().split() == [
        "background",
        "apple",
        "bear",
        "chair",
        "dog",
    ]
    assert [f["name"] for f in said["associated_files"]] == ["nas_tf.json"]
    prepared = plain_reader.preparation(content)
    assert (prepared["resize_size"], prepared["crop_size"]) == (18, 16)
    assert (prepared["resize_method"], prepared["crop_place"]) == ("bilinear, antialiased", "center")


def test_our_own_reader_agrees(files_by_type):
    found = tflite_metadata.read(files_by_type["uint8"])
    assert (found.mean, found.std, found.label_file, found.words_file) == ((128,), (128,), "labels.txt", "")
    assert (found.author, found.version, found.license) == ("A. Maker", "2.1", "")


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float32"])
@pytest.mark.parametrize("rounded", [np.round, np.trunc])
def test_a_plain_reader_feeds_the_same_input(dtype, rounded, files_by_type):
    """By TFLite's rule: normalize, then quantize by the tensor's own scale and zero point. Some readers
    cut off what stands behind the point instead of rounding: that makes no difference either."""
    path = files_by_type[dtype]
    unit = plain_reader.metadata(path.read_bytes())["subgraph_metadata"][0]["input_tensor_metadata"][0]
    options = unit["process_units"][0]["options"]
    mean, std = (np.float32(options[name][0]) for name in ("mean", "std"))
    pixels = np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis], 3, 1)
    values = (pixels.astype(np.float32) - mean) / std
    details = open_interpreter(path, "m", "builtin").get_input_details()[0]
    scale, zero_point = details["quantization"]
    if scale:
        values = rounded(values / np.float32(scale) + zero_point)
    values = values.astype(details["dtype"])
    ours = TFLiteClassifier(path).input_scaling(pixels)
    assert values.dtype == ours.dtype and (values == ours).all()


@pytest.mark.parametrize("kernels", KERNELS)
def test_the_file_with_metadata_computes_the_same(kernels, files_by_type, noise_images):
    """Against the flatbuffer without them, bit by bit."""
    path = files_by_type["uint8"]
    content = path.read_bytes()
    end = content.index(b"PK\x03\x04")
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    model.metadata = [m for m in model.metadata if m.name != b"TFLITE_METADATA"]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    bare = bytes(builder.Output())

    def answers(held):
        interpreter = open_interpreter(held, "m", kernels)
        source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        for image in noise_images(8):
            interpreter.set_tensor(source["index"], image[np.newaxis])
            interpreter.invoke()
            yield interpreter.get_tensor(sink["index"])

    assert np.array_equal(list(answers(content)), list(answers(bare)))
    assert end - len(bare) < 4096, "metadata and alignment stay small"


def test_constants_lie_where_the_schema_wants_them(files_by_type):
    """At multiples of 16 bytes, which microcontrollers and mapped files rely on."""
    described = plain_reader.model(files_by_type["int8"].read_bytes())
    places = [b["data"][0] for b in described["buffers"] if b.get("data", (0, 0))[1]]
    assert len(places) > 10 and all(place % 16 == 0 for place in places)


def test_metadata_that_are_there_are_replaced(files_by_type):
    content = files_by_type["int8"].read_bytes()
    content = content[: content.index(b"PK\x03\x04")]
    again = metadata_writer.embed(content, b"\x00" * 4 + b"M001" + b"\x00" * 8)
    entries = [e["name"] for e in plain_reader.model(again)["metadata"]]
    assert entries.count("TFLITE_METADATA") == 1 and len(again) < len(content)
    graphs = [flatbuffer.parse(held).main for held in (content, again)]
    assert graphs[0].operators == graphs[1].operators


def test_a_graph_that_changed_on_the_way_is_refused(files_by_type, monkeypatch):
    content = files_by_type["int8"].read_bytes()
    content = content[: content.index(b"PK\x03\x04")]
    other = files_by_type["uint8"].read_bytes()
    monkeypatch.setattr(metadata_writer, "_packed", lambda model: other)
    with pytest.raises(UserError, match="model changed when its metadata was added; nothing was written"):
        metadata_writer.embed(content, b"\x00" * 4 + b"M001" + b"\x00" * 8)


def test_every_field_is_written_where_the_schema_has_it():
    """A license, a second label file with its language: what the files above do not have."""
    from export.metadata_writer import AssociatedFile, FileMetadata

    files = (AssociatedFile("l.txt", "a", "", True), AssociatedFile("l_en.txt", "b", "en", True))
    said = FileMetadata("n", "d", "v", "a", "BSD", "i", "o", 10.0, 20.0, 300, files)
    content = metadata_writer.build(said)
    found = plain_reader.table(content, int.from_bytes(content[:4], "little"), "ModelMetadata")
    assert found["license"] == "BSD" and found["name"] == "n"
    graph = found["subgraph_metadata"][0]
    size = graph["input_tensor_metadata"][0]["content"]["content_properties"]["default_size"]
    assert size == {"width": 300, "height": 300}
    locales = [f.get("locale") for f in graph["output_tensor_metadata"][0]["associated_files"]]
    assert locales == [None, "en"]
    read = tflite_metadata._described(content, ())
    assert (read.label_file, read.words_file, read.license) == ("l.txt", "l_en.txt", "BSD")


def test_imagenets_ids_get_words():
    ids = ("background", "n01440764", "n02123045")
    assert labels.words_of(ids) == ("background", "tench, Tinca tinca", "tabby, tabby cat")
    assert labels.words_of(("apple", "n01440764", "pear")) is None
    assert labels.words_of(("n0", "n1")) is None and labels.words_of(("0", "1")) is None


def test_the_words_are_those_of_the_datasets_order():
    """All 1000, in the order in which TFDS numbers them."""
    import pathlib

    import tensorflow_datasets as tfds

    place = pathlib.Path(tfds.__file__).parent / "datasets" / "imagenet2012" / "labels.txt"
    ids = tuple(place.read_text().split())
    words = labels.words_of(ids)
    assert len(words) == 1000 and not set(words) & set(ids)
    assert (words[207], words[388].split(",")[0]) == ("golden retriever", "giant panda")


def test_a_file_with_another_way_to_resize_is_refused(files_by_type, tmp_path):
    from export import archive, file_facts

    content = files_by_type["int8"].read_bytes()
    path = tmp_path / "m.tflite"
    path.write_bytes(content[: content.index(b"PK\x03\x04")])
    facts = file_facts.FileFacts(resize_method="squashed")
    file_facts.append(path, facts)
    with pytest.raises(UserError, match="made for images resized by 'squashed'.* this version knows"):
        file_facts.read(path)
    assert archive.read(path, file_facts.ENTRY, 1000)

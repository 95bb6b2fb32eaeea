"""What files from elsewhere may hold: refused in one short sentence, whatever it is."""

import json
import re
import time

import pytest

from nas_tf.base import files
from nas_tf.base.errors import UserError, quoted, shortened


@pytest.mark.parametrize("opening, closing", [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
@pytest.mark.parametrize("levels", [101, 900, 200_000])
def test_json_that_is_nested_deeply_is_refused(tmp_path, opening, closing, levels):
    path = tmp_path / "deep.json"
    path.write_text(opening * levels + ("0" if opening == "[" else "1") + closing * levels)
    with pytest.raises(UserError, match="The table .*deep.json' is nested too deeply; at most 100 levels"):
        files.read_json(path, "table")


def test_a_hundred_levels_are_read(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 100 + "]" * 100)
    assert json.dumps(files.read_json(path, "table")) == "[" * 100 + "]" * 100


@pytest.mark.parametrize(
    "value",
    ids=["text", "list", "object", "number", "bytes", "deep"],
    argvalues=[
        "x" * 100_000,
        ["x" * 50] * 1000,
        {"k" * 99: "v" * 99},
        10**4000,
        b"\0" * 9999,
        [[[[[[[["deep"]]]]]]]],
    ],
)
def test_what_is_quoted_is_short(value):
    assert len(quoted(value)) <= 60
    assert len(quoted(value, 30)) <= 30


def test_what_is_short_is_quoted_whole():
    assert [quoted(value) for value in ("a'b", 12, [1, 2], None, 0.5)] == [
        '"a\'b"',
        "12",
        "[1, 2]",
        "None",
        "0.5",
    ]


def test_numbers_that_python_refuses_to_write_are_quoted():
    """Whole numbers in YAML may be written in other bases, in which their length has no limit."""
    assert quoted(int("f" * 5000, 16)) == "a number of 20000 bits"
    assert quoted([int("f" * 5000, 16)]) == "list"


def test_reasons_become_one_short_line():
    assert shortened("line 1,\n  column 2") == "line 1, column 2"
    assert shortened("x" * 1000, 10) == "x" * 9 + "…"


def test_broken_json_is_refused_in_a_short_sentence(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text('{"a": ' + "9" * 5000 + "}")
    with pytest.raises(UserError, match="not valid JSON") as refused:
        files.read_json(path, "table")
    assert len(str(refused.value)) < len(str(path)) + 300


def _length_without_path(error: UserError) -> int:
    return len(re.sub(r"'/[^']*'", "", str(error)))


LONG = "x" * 100_000


def test_messages_about_files_stay_short(tmp_path):
    from nas_tf.latency.table import load_table
    from nas_tf.network.model_folder import description_from_json
    from nas_tf.space.architecture import from_json
    from nas_tf.space.published import PROXYLESS_MOBILE, read_architecture

    def table(**changes):
        path = tmp_path / "t.json"
        path.write_text(json.dumps({"format": "nas_tf.latency_table/1", **changes}))
        return lambda: load_table(path)

    network = PROXYLESS_MOBILE.to_json()
    for read in (
        table(format=LONG),
        table(entries={LONG: 1}, baseline_ms=0),
        table(entries={"Conv_1-input:7x7x320-output:7x7x1280": {}}, baseline_ms=LONG),
        table(
            entries={"Conv_1-input:7x7x320-output:7x7x1280": {"median_ms": 1, "spread_ms": 0, "runs": 1}},
            baseline_ms=0,
            identity={"device": [LONG]},
        ),
        lambda: from_json({"format": LONG}),
        lambda: from_json(network | {"head_width": LONG}),
        lambda: from_json(network | {"head_width": 10**4000}),
        lambda: from_json(network | {"image_border": [1e300] * 3}),
        lambda: from_json(network | {"image_border": [0.0] * 5000}),
        lambda: from_json(network | {"activation": LONG}),
        lambda: description_from_json({"format": LONG, "kind": "float"}, "model"),
        lambda: description_from_json({"format": "nas_tf.model/1", "kind": LONG}, "model"),
        lambda: read_architecture("s8x2 " + LONG),
        lambda: read_architecture(LONG),
    ):
        with pytest.raises(UserError) as refused:
            read()
        assert _length_without_path(refused.value) < 500


@pytest.mark.parametrize(
    "value",
    [10**400, -(10**400), float("inf"), float("nan"), True],
    ids=["large", "low", "inf", "nan", "true"],
)
@pytest.mark.parametrize("name", ["resolution", "num_classes", "resize_size"])
def test_numbers_of_a_model_description_without_end(name, value):
    from nas_tf.network.model_folder import description_from_json
    from nas_tf.space.published import PROXYLESS_MOBILE

    content = {
        "format": "nas_tf.model/1",
        "kind": "float",
        "architecture": PROXYLESS_MOBILE.to_json(),
        "resolution": 224,
        "num_classes": 2,
        "labels": ["a", "b"],
        "resize_size": 256,
        "has_background": False,
        "quantization": {},
    }
    assert description_from_json(content, "model").num_classes == 2
    with pytest.raises(UserError, match="The model "):
        description_from_json(content | {name: value}, "model")


def test_a_border_of_an_architecture_without_end():
    from nas_tf.space.architecture import from_json
    from nas_tf.space.published import PROXYLESS_MOBILE

    with pytest.raises(UserError, match="not an architecture file .*OverflowError"):
        from_json(PROXYLESS_MOBILE.to_json() | {"image_border": [10**400, 0, 0]})


@pytest.mark.parametrize("blocks", [7, None, [None], [7], ["x"]])
def test_blocks_of_an_architecture_of_another_type(blocks):
    from nas_tf.space.architecture import from_json
    from nas_tf.space.published import PROXYLESS_MOBILE

    with pytest.raises(UserError, match="not an architecture file"):
        from_json(PROXYLESS_MOBILE.to_json() | {"blocks": blocks})


@pytest.mark.parametrize(
    "text",
    ids=["blocks", "tokens", "characters"],
    argvalues=[
        "s8x2 " + "1_3c8 " * 1025 + "h16",
        "s8x2 " + "1_3c8 " * 300_000 + "h16",
        "s8x2 " + "a" * 3_000_000 + " h16",
    ],
)
def test_long_architecture_strings_are_refused_before_they_are_read(text):
    from nas_tf.space.architecture import from_string

    began = time.process_time()
    with pytest.raises(UserError, match=r"1 to 1024 blocks, not 1025|at most 65,536 are read"):
        from_string(text)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    "eps",
    [10**400, -1, float("nan"), float("inf"), "0.001", None, True],
    ids=["large", "low", "nan", "inf", "text", "null", "true"],
)
def test_epsilons_of_a_published_configuration(eps):
    from nas_tf.imported.proxyless_config import _epsilon

    with pytest.raises(ValueError, match="is not a number from 0 to 1"):
        _epsilon(eps)
    assert _epsilon(0.001) == 0.001


def test_an_unfinished_table_with_numbers_without_end(tmp_path):
    from nas_tf.latency.entries import Identity
    from nas_tf.latency.partial import PartialTable

    identity = Identity("d", "host", "r", "xnnpack", 1, "int8", "tiny", 8, 1.0, 10)
    path = tmp_path / "p.json"
    partial = PartialTable(path, identity)
    partial.save({"a": [1.0]}, at_once=True)
    assert partial.load() == {"a": [1.0]}
    path.write_text(path.read_text().replace("1.0\n  ]", "1" + "0" * 400 + "\n  ]"))
    with pytest.raises(UserError, match="unfinished latency table .* is damaged .*OverflowError"):
        partial.load()


@pytest.mark.parametrize("seconds", ["1" + "0" * 400, "-5", "NaN", "Infinity", '"3"', "true and"])
def test_working_time_that_is_none_counts_as_nothing(tmp_path, seconds):
    from nas_tf.base.clock import _held

    path = tmp_path / "seconds.json"
    path.write_text('{"seconds": 12.5}')
    assert _held(path) == 12.5
    path.write_text('{"seconds": ' + seconds + "}")
    if seconds == "true and":
        with pytest.raises(UserError, match="not valid JSON"):
            _held(path)
    else:
        assert _held(path) == 0


def test_other_settings_with_long_names_are_named_in_short(tmp_path):
    from nas_tf.base.run_folder import open_stage

    stage = open_stage(tmp_path, "train", {"epochs": 3})
    stage.settings_path.write_text(json.dumps({"epochs": 3, "k" * 9000: 1}))
    with pytest.raises(UserError, match="other settings .*kkk.*there 1, asked null") as refused:
        open_stage(tmp_path, "train", {"epochs": 3})
    assert _length_without_path(refused.value) < 300


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[1]", b"3", b"[" * 100_000, b'{"epoch": '])
def test_metrics_are_read_without_a_line_that_is_none(tmp_path, line):
    from nas_tf.base.metric_log import METRICS_FILE, read_metrics

    (tmp_path / METRICS_FILE).write_bytes(b'{"epoch": 0}\n' + line + b'\n{"epoch": 2}\n')
    assert read_metrics(tmp_path) == [{"epoch": 0}, {"epoch": 2}]


def test_an_image_whose_header_says_more_than_it_can_hold(tmp_path):
    """A decoder would make room for half a gigabyte before it sees that there is nothing."""
    import io
    import struct
    import zlib

    from PIL import Image

    from nas_tf.data.image_files import look_at

    file = io.BytesIO()
    Image.new("RGB", (16, 12)).save(file, "PNG")
    content = bytearray(file.getvalue())
    content[16:24] = struct.pack(">II", 12_000, 12_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path = tmp_path / "large.png"
    path.write_bytes(content)
    (look,) = look_at([path])
    assert look.fault == f"it says 12000×12000 pixels, which its {len(content)} bytes cannot hold"


def test_an_image_as_dense_as_there_is_one_is_read(tmp_path):
    from PIL import Image

    from nas_tf.data.image_files import look_at

    path = tmp_path / "white.png"
    Image.new("1", (8000, 8000), 1).save(path, optimize=True)
    (look,) = look_at([path])
    assert (look.fault, look.width) == ("", 8000)

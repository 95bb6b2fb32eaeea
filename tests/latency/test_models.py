"""The small models of a table, whole networks joined from them, and running them here."""

import functools

import numpy as np
import pytest

from nas_tf.base.errors import UserError
from nas_tf.latency import host, model_cache, small_models
from nas_tf.latency.host import HostConfig, HostDevice
from nas_tf.latency.model_cache import EMPTY, ModelCache, layer_builders, network_builders
from nas_tf.latency.stitch import stitch
from nas_tf.latency.whole_networks import stitched
from nas_tf.space.architecture import from_string
from nas_tf.space.layer_spec import LayerSpec
from nas_tf.space.operations.inverted_bottleneck import InvertedBottleneck
from nas_tf.space.operations.zero import ZERO
from nas_tf.space.search_space import TINY

RESOLUTION, CLASSES = 12, 5
# A shortcut, a ZeroOp, a change of shape without expansion 3.
NETWORK = TINY.architecture(
    (
        InvertedBottleneck(3, 3),
        ZERO,
        InvertedBottleneck(6, 5),
        InvertedBottleneck(3, 7),
        InvertedBottleneck(3, 3),
    )
)


@pytest.fixture(scope="module", name="caches")
def _caches(tmp_path_factory):
    """dtype → cache with NETWORK whole and in layers."""
    caches = {}
    for dtype in ("int8", "float32"):
        caches[dtype] = ModelCache(tmp_path_factory.mktemp(dtype), dtype)
        caches[dtype].convert(
            layer_builders(NETWORK.layers(RESOLUTION, CLASSES))
            | network_builders([NETWORK], RESOLUTION, CLASSES)
        )
    return caches


def interpreter_of(path):
    """A ready interpreter with built-in kernels, which leave one operation for each of the file's."""
    return host.load_interpreter(path, HostConfig(kernels="builtin"))[0]


def operations_of(path):
    """Names of a file's operations in order."""
    return [op["op_name"] for op in interpreter_of(path)._get_ops_details()]


def whole(cache):
    """File of the converted network."""
    return cache.path(model_cache.network_name(NETWORK, RESOLUTION, CLASSES))


def layer_paths(cache):
    """Files of its layers in order."""
    return [cache.path(key) for key in NETWORK.latency_keys(RESOLUTION, CLASSES)]


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_layers_have_the_operations_of_the_network(caches, dtype):
    """Else their latencies could not sum to the network's."""
    cache = caches[dtype]
    joined = [op for path in layer_paths(cache) for op in operations_of(path)]
    assert joined == operations_of(whole(cache))
    assert joined.count("DEPTHWISE_CONV_2D") == 5 and joined.count("ADD") == 2
    assert operations_of(stitched(cache, NETWORK, RESOLUTION, CLASSES)) == joined


def test_layers_behind_the_pooling_have_the_operations_of_the_network(tmp_path):
    network = from_string("s8x2 C1_3c8x2 U2_30c16x2 h24 f32 relu")
    cache = ModelCache(tmp_path, "int8")
    cache.convert(
        layer_builders(network.layers(RESOLUTION, CLASSES)) | network_builders([network], RESOLUTION, CLASSES)
    )
    joined = operations_of(stitched(cache, network, RESOLUTION, CLASSES))
    assert joined == operations_of(cache.path(model_cache.network_name(network, RESOLUTION, CLASSES)))
    assert joined.count("MEAN") == 1 and joined.count("CONV_2D") == 1 + 2 + 2 + 3


def test_int8_models_are_integer_throughout(caches):
    for path in [*layer_paths(caches["int8"]), whole(caches["int8"]), caches["int8"].path(EMPTY)]:
        interpreter = interpreter_of(path)
        types = {np.dtype(d["dtype"]).name for d in interpreter.get_tensor_details()}
        assert types <= {"int8", "int32"}, path
        ends = interpreter.get_input_details() + interpreter.get_output_details()
        assert [np.dtype(e["dtype"]).name for e in ends] == ["int8", "int8"]


def test_joined_network_computes_its_layers_one_after_the_other(caches):
    """In float32, where no scale is involved at the seams."""
    value = np.random.default_rng(0).normal(size=(1, RESOLUTION, RESOLUTION, 3)).astype("float32")

    def run(path, x):
        interpreter = interpreter_of(path)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    expected = functools.reduce(lambda x, path: run(path, x), layer_paths(caches["float32"]), value)
    joined = run(stitched(caches["float32"], NETWORK, RESOLUTION, CLASSES), value)
    assert expected.shape == (1, CLASSES) and np.ptp(expected) > 0
    np.testing.assert_allclose(joined, expected, rtol=1e-5, atol=1e-6)


def test_only_models_that_follow_each_other_are_joined(caches):
    paths = layer_paths(caches["int8"])
    with pytest.raises(UserError, match=r"takes \[1, 6, 6, 8\], but the model before it gives"):
        stitch([paths[2], paths[1]])


def test_cached_models_are_not_converted_again(caches, monkeypatch):
    cache = caches["int8"]
    builders = {
        name: lambda: pytest.fail("built again")
        for name in layer_builders(NETWORK.layers(RESOLUTION, CLASSES))
    }
    paths = cache.convert(builders)
    assert all(path.exists() for path in paths.values())
    monkeypatch.setattr(cache, "_dtype", "float32")
    assert cache.missing(list(builders)) == list(builders), "a data type has files of its own"


@pytest.mark.parametrize("kernels", ["builtin", "xnnpack"])
def test_timing_here(caches, kernels):
    models = {"network": whole(caches["int8"]), "empty": caches["int8"].path(EMPTY)}
    device = HostDevice(HostConfig(kernels=kernels, invokes=4))
    times = device.time_round(models)
    assert [len(t) for t in times.values()] == [3, 3] and min(times["network"]) > 0
    fields = device.identity_fields()
    assert fields["backend"] == "host" and fields["kernels"] == kernels
    assert fields["runtime"].startswith("ai-edge-litert ")


def test_the_run_that_finds_the_caches_full_of_others_is_not_counted(caches, monkeypatch):
    runs = iter([9.0, 1.0, 8.0])
    monkeypatch.setattr(HostDevice, "_invoke_ms", lambda self, interpreter: next(runs))
    models = {"network": whole(caches["int8"])}
    assert HostDevice(HostConfig()).time_round(models) == {"network": [1.0]}
    assert HostDevice(HostConfig(invokes=1)).time_round(models) == {"network": [8.0]}


def test_time_of_other_processes_is_not_counted(caches, monkeypatch):
    """Preempted for a second: the thread's own time is taken."""
    device = HostDevice(HostConfig(invokes=1))
    models = {"network": whole(caches["int8"])}
    device.time_round(models)
    ticks, preemptions = iter([0.0, 1.0]), iter([3, 4])
    monkeypatch.setattr(host.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(host, "_preemptions", lambda: next(preemptions))
    assert device.time_round(models)["network"][0] < 100


def test_refusals(tmp_path):
    with pytest.raises(UserError, match="this machine offers 1 to"):
        HostDevice(HostConfig(num_threads=1000))
    with pytest.raises(UserError, match="allowed: builtin, xnnpack"):
        HostDevice(HostConfig(kernels="gpu"))
    device = HostDevice(HostConfig())
    broken = tmp_path / "broken.tflite"
    for content, expected in (
        (b"", "has 0 bytes"),
        (b"hello world", "is not a .tflite file"),
        (b"\x1c\0\0\0TFL3" + b"\xff" * 200, "does not run here"),
    ):
        broken.write_bytes(content)
        with pytest.raises(UserError, match=expected):
            device.time_round({"m": broken})
    with pytest.raises(UserError, match="There is no model file"):
        device.time_round({"m": tmp_path / "absent.tflite"})
    with pytest.raises(UserError, match="No model can be built"):
        small_models.entry_model(LayerSpec(8, 3, 8))
    with pytest.raises(UserError, match="allowed: int8, float32"):
        small_models.convert(small_models.empty_model(), "int4")


def test_a_system_that_does_not_tell_its_cores_has_one(monkeypatch):
    monkeypatch.delattr(host.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(host.os, "cpu_count", lambda: None)
    assert host.usable_cores() == 1
    HostDevice(HostConfig(num_threads=1)).close()

"""Flags of measuring latency."""

from absl import flags

from flags import space
from nas_tf.errors import UserError
from nas_tf.latency.build import DTYPES, BuildConfig
from nas_tf.latency.devices import BACKENDS, DeviceConfig
from nas_tf.latency.host import KERNELS, HostConfig
from nas_tf.latency.timing import TimingConfig

BACKEND = flags.DEFINE_enum(
    "backend", "host", BACKENDS, "Where models run: this machine, or an Android phone over adb.")
DTYPE = flags.DEFINE_enum("dtype", "int8", DTYPES, "Data type of the models of a latency table.")
NUM_THREADS = flags.DEFINE_integer(
    "num_threads", 1, "Threads that a model runs with.", lower_bound=1, upper_bound=64)
NUM_RUNS = flags.DEFINE_integer(
    "num_runs", 50, "Timings of each model at least; more where they spread.", lower_bound=3,
    upper_bound=100_000)
KERNELS_FLAG = flags.DEFINE_enum(
    "kernels", "builtin", KERNELS,
    "Kernels of the host's runtime: TFLite's built-in ones or the XNNPACK delegate.")
CACHE_DIR = flags.DEFINE_string(
    "latency_cache_dir", "", "Folder of converted models, kept for other tables. Default: "
    "beside the table.")


def device_config() -> DeviceConfig:
    """The device that the flags name."""
    if BACKEND.value == "adb":
        raise UserError("--backend=adb is not there yet; use --backend=host.")
    return HostConfig(NUM_THREADS.value, KERNELS_FLAG.value)


def timing_config() -> TimingConfig:
    """How long to measure."""
    return TimingConfig(NUM_RUNS.value, max_rounds=20 * NUM_RUNS.value)


def latency_config(output: str, num_classes: int) -> BuildConfig:
    """Settings of a table.

    Args:
      output: the table's JSON file.
      num_classes: outputs of the classifier.
    """
    return BuildConfig(
        output, space.SPACE.value, space.RESOLUTION.value, space.WIDTH_MULTIPLIER.value,
        num_classes, DTYPE.value, CACHE_DIR.value, device_config(), timing_config())

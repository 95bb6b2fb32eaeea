"""Flags of measuring latency."""

from absl import flags

from flags import paths, space
from nas_tf.base.errors import require
from nas_tf.base.interpreter import DEFAULT_KERNELS, KERNELS
from nas_tf.latency.build import DTYPES, BuildConfig
from nas_tf.latency.devices import BACKENDS, DeviceConfig
from nas_tf.latency.host import HostConfig
from nas_tf.latency.phone import AdbConfig
from nas_tf.latency.timing import TimingConfig

BOTH = "both"
BACKEND = flags.DEFINE_enum(
    "backend", "host", BACKENDS, "Where models run: this machine, or an Android phone over adb."
)
DTYPE = flags.DEFINE_enum("dtype", BuildConfig.dtype, DTYPES, "Data type of the models of a latency table.")
NUM_THREADS = flags.DEFINE_integer(
    "num_threads", HostConfig.num_threads, "Threads that a model runs with.", lower_bound=1, upper_bound=64
)
NUM_RUNS = flags.DEFINE_integer(
    "num_runs",
    TimingConfig.num_rounds,
    "Timings of each model at least; more where they spread.",
    lower_bound=3,
    upper_bound=100_000,
)
INVOKES = flags.DEFINE_integer(
    "invokes",
    HostConfig.invokes,
    "Runs of a model each time that it is its turn on this machine. Of several the first, which finds the "
    "caches full of other models, is not counted, as on a phone. 1: only such first runs are counted.",
    lower_bound=1,
    upper_bound=1000,
)
EXTRA_SECONDS = flags.DEFINE_float(
    "latency_extra_seconds",
    TimingConfig.max_extra_seconds,
    "Seconds spent at most on timing again what still spreads "
    "after --num_runs (on a phone ten times as many).",
    lower_bound=0.0,
)
KERNELS_FLAG = flags.DEFINE_enum(
    "kernels",
    None,
    (*KERNELS, BOTH),
    "What models run on: XNNPACK, LiteRT's default and so what phones run, or TFLite's built-in "
    "kernels. Default: those of the latency table or of the run that is gone on with, where there "
    f"is one; else {DEFAULT_KERNELS}. With export.benchmark also both: in turns, and which is faster.",
)
BINARY = paths.DEFINE_path(
    "benchmark_binary", "", "With --backend=adb: TFLite's native benchmark_model for the phone."
)
ADB_PATH = paths.DEFINE_path("adb_path", AdbConfig.adb_path, "The adb program.")
ADB_SERIAL = flags.DEFINE_string(
    "adb_serial", AdbConfig.serial, "Which phone, as `adb devices` lists it. Default: the only one."
)
CPU_MASK = flags.DEFINE_string(
    "adb_cpu_mask",
    AdbConfig.cpu_mask,
    "Cores of the phone to run on, hexadecimal: f0 is cores 4 to 7, the large "
    "ones of a Pixel 2. Default: all.",
)
MAX_TEMPERATURE = flags.DEFINE_float(
    "adb_max_temperature_c",
    AdbConfig.max_temperature_c,
    "Wait while the phone's battery is hotter, in degrees Celsius.",
    lower_bound=0.0,
    upper_bound=80.0,
)
CORRECTION = flags.DEFINE_integer(
    "correction_networks",
    BuildConfig.correction_networks,
    "Random whole networks around the budget timed with a latency table, to correct its "
    "sums: fitted on half, judged by the others. 6 or more; 0: no correction.",
    lower_bound=0,
    upper_bound=1000,
)
ALSO = flags.DEFINE_list(
    "also_architectures",
    [],
    "Networks outside of the space, by name, file or short string, of which a latency table gets all "
    "entries too, so that they can be described and checked with it.",
)
CACHE_DIR = paths.DEFINE_path(
    "latency_cache_dir",
    BuildConfig.cache_dir,
    "Folder of converted models, kept for other tables. Default: beside the table.",
)
# Inferences of a phone's turn: few, so that a warm minute or another app touches all models alike, and
# more than one, because every turn starts `benchmark_model` anew.
_RUNS_PER_TURN = AdbConfig.num_runs


def kernels_given() -> bool:
    """Whether --kernels was given."""
    return KERNELS_FLAG.value is not None


def both_kernels() -> bool:
    """Whether --kernels=both was given."""
    return KERNELS_FLAG.value == BOTH


def device_config(allow_both: bool = False) -> DeviceConfig:
    """The device that the flags name.

    Args:
      allow_both: whether --kernels=both may be given, for one who then changes kernels himself.

    Raises:
      UserError: --kernels=both where it is not allowed.
    """
    require(
        allow_both or not both_kernels(),
        f"--kernels={BOTH} is for export.benchmark; allowed here: {', '.join(KERNELS)}.",
    )
    given = KERNELS_FLAG.value
    kernels = DEFAULT_KERNELS if given is None or given == BOTH else given
    if BACKEND.value == "host":
        return HostConfig(NUM_THREADS.value, kernels, INVOKES.value)
    return AdbConfig(
        binary=BINARY.value,
        serial=ADB_SERIAL.value,
        adb_path=ADB_PATH.value,
        cpu_mask=CPU_MASK.value,
        num_threads=NUM_THREADS.value,
        kernels=kernels,
        num_runs=_RUNS_PER_TURN,
        max_temperature_c=MAX_TEMPERATURE.value,
    )


def timing_config() -> TimingConfig:
    """How long to measure."""
    if BACKEND.value == "host":
        return TimingConfig(
            num_rounds=NUM_RUNS.value, max_rounds=20 * NUM_RUNS.value, max_extra_seconds=EXTRA_SECONDS.value
        )
    # A turn on a phone is many inferences that yield one median. Rounded up; a median's error needs
    # some turns, and one takes far longer than a run on this machine, hence fewer and more seconds.
    turns = max(3, -(-NUM_RUNS.value // _RUNS_PER_TURN))
    return TimingConfig(num_rounds=turns, max_rounds=4 * turns, max_extra_seconds=10 * EXTRA_SECONDS.value)


def latency_config(output: str, num_classes: int, budget_ms: float = 0.0) -> BuildConfig:
    """Settings of a table.

    Args:
      output: the table's JSON file.
      num_classes: outputs of the classifier.
      budget_ms: around which whole networks are measured; 0: none.
    """
    return BuildConfig(
        output=output,
        space=space.SPACE.value,
        resolution=space.RESOLUTION.value,
        width_multiplier=space.WIDTH_MULTIPLIER.value,
        num_classes=num_classes,
        dtype=DTYPE.value,
        cache_dir=CACHE_DIR.value,
        correction_networks=CORRECTION.value,
        budget_ms=budget_ms,
        also=tuple(ALSO.value),
        device=device_config(),
        timing=timing_config(),
    )

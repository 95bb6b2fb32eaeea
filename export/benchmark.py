"""Command: how long a network takes for one image, on this machine or on a phone.

python -m export.benchmark --model=runs/a/convert/model_int8.tflite
"""

from export.benchmark_run import BenchmarkConfig, facts_for_people, run_benchmark
from flags import common, paths
from flags.latency import device_config, kernels_given, timing_config
from nas_tf.base import cli, files
from nas_tf.base.errors import require
from nas_tf.latency.kernels import kernels_of_run

_MODEL = paths.DEFINE_path(
    "model", "", "A .tflite file, or a model folder of ours. Default: <workdir>/convert/model_int8.tflite."
)
_OUTPUT = paths.DEFINE_path("output_json", "", "Also write the summary to this file.")


def main() -> None:
    """Times the model and prints the median."""
    require(bool(common.WORKDIR.value or _MODEL.value), "Give --model or --workdir.")
    cli.check_outputs(_OUTPUT.value)
    workdir = common.WORKDIR.value or ""
    device = device_config()
    if not kernels_given():
        device = kernels_of_run(device, workdir)
    summary = run_benchmark(workdir, BenchmarkConfig(_MODEL.value, device, timing_config()))
    if _OUTPUT.value:
        files.write_json(_OUTPUT.value, summary)
    cli.print_facts(
        "Benchmark",
        facts_for_people(summary),
        f"python -m export.report --workdir={workdir}" if workdir else "",
    )


if __name__ == "__main__":
    cli.run(main)

"""Command: how long a network takes for one image, on this machine or on a phone.

    python -m export.benchmark --model=runs/a/convert/model_int8.tflite
    python -m export.benchmark --model=model.tflite --kernels=both

With --kernels=both, XNNPACK and TFLite's built-in kernels run it in turns; nothing is put in a run folder.
"""

from export.benchmark_both import benchmark_both, facts_for_both
from export.benchmark_run import BenchmarkConfig, facts_for_people, run_benchmark
from flags import common, paths
from flags.latency import both_kernels, device_config, kernels_given, timing_config
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
    device = device_config(allow_both=True)
    if not kernels_given():
        device = kernels_of_run(device, workdir)
    config = BenchmarkConfig(_MODEL.value, device, timing_config())
    # A comparison is no stage of a run, whose budget is for one kernels.
    summary = benchmark_both(workdir, config) if both_kernels() else run_benchmark(workdir, config)
    if _OUTPUT.value:
        files.write_json(_OUTPUT.value, summary)
    cli.print_facts(
        "Benchmark",
        facts_for_both(summary) if both_kernels() else facts_for_people(summary),
        f"python -m export.report --workdir={workdir}" if workdir and not both_kernels() else "",
    )


if __name__ == "__main__":
    cli.run(main)

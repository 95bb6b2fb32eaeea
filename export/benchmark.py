"""Command: how long a network takes for one image, on this machine or on a phone.

    python -m export.benchmark --model=runs/a/convert/model_int8.tflite
    python -m export.benchmark --model=model.tflite --kernels=both
    python -m export.benchmark --model=old.tflite --model=new.tflite --model=other.tflite

With --kernels=both, XNNPACK and TFLite's built-in kernels run it in turns; several models run in turns too,
and each is compared with the first. Nothing of that is put in a run folder.
"""

from export.benchmark_both import benchmark_both, facts_for_both
from export.benchmark_run import BenchmarkConfig, facts_for_people, run_benchmark
from export.benchmark_several import benchmark_several, facts_for_several
from flags import common, paths
from flags.latency import both_kernels, device_config, kernels_given, timing_config
from nas_tf.base import cli, files
from nas_tf.base.errors import require
from nas_tf.latency.kernels import kernels_of_run

_MODEL = paths.DEFINE_multi_path(
    "model",
    "A .tflite file, or a model folder of ours; given several times, they run in turns and are compared "
    "with the first. Default: <workdir>/convert/model_int8.tflite.",
)
_OUTPUT = paths.DEFINE_path("output_json", "", "Also write the summary to this file.")


def main() -> None:
    """Times the model and prints the median."""
    models = [model for model in _MODEL.value or [] if model]
    require(bool(common.WORKDIR.value or models), "Give --model or --workdir.")
    require(
        len(models) < 2 or not both_kernels(),
        f"--kernels=both compares the kernels on one --model, not on {len(models)}.",
    )
    cli.check_outputs(_OUTPUT.value)
    workdir = common.WORKDIR.value or ""
    device = device_config(allow_both=True)
    if not kernels_given():
        device = kernels_of_run(device, workdir)
    config = BenchmarkConfig(models[0] if models else "", device, timing_config())
    # A comparison is no stage of a run, whose budget is for one model and one kernels.
    compared = len(models) > 1 or both_kernels()
    if len(models) > 1:
        summary = benchmark_several(models, config)
        facts = facts_for_several(summary)
    elif both_kernels():
        summary = benchmark_both(workdir, config)
        facts = facts_for_both(summary)
    else:
        summary = run_benchmark(workdir, config)
        facts = facts_for_people(summary)
    if _OUTPUT.value:
        files.write_json(_OUTPUT.value, summary)
    next_command = f"python -m export.report --workdir={workdir}" if workdir and not compared else ""
    cli.print_facts("Benchmark", facts, next_command)


if __name__ == "__main__":
    cli.run(main, resumes=False)

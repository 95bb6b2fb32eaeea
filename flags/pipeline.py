"""Flags of the pipeline itself, and the settings of all its stages."""

from absl import flags

from export.benchmark_run import BenchmarkConfig
from export.pipeline_config import PipelineConfig
from flags import architecture, convert, evaluate, finetune, latency, search, train

TARGET_SHARE = flags.DEFINE_float(
    "target_latency_share",
    PipelineConfig.target_share,
    "The budget as a share (0 to 1) of the way from the fastest to the slowest network of the "
    "space without candidates out of proportion to their work, instead of --target_latency_ms; 0: not "
    "used.",
    lower_bound=0.0,
    upper_bound=1.0,
)


def pipeline_config() -> PipelineConfig:
    """The settings of every stage."""
    return PipelineConfig(
        # The pipeline puts the table in its run folder, and asks the dataset for its classes.
        table=latency.latency_config("", 1, search.TARGET_LATENCY.value or 0.0),
        search=search.search_config(),
        train=train.train_config(),
        finetune=finetune.finetune_config(),
        convert=convert.convert_config(),
        evaluate=evaluate.evaluate_config(),
        benchmark=BenchmarkConfig(device=latency.device_config(), timing=latency.timing_config()),
        architecture=architecture.ARCHITECTURE.value or "",
        target_share=TARGET_SHARE.value,
        kernels_given=latency.kernels_given(),
        eval_kernels_given=evaluate.eval_kernels_given(),
    )

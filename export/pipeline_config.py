"""What the pipeline is asked to do, as plain data."""

import dataclasses

from export.benchmark_run import BenchmarkConfig
from export.convert_run import ConvertConfig
from export.evaluate_config import EvaluateConfig
from nas_tf.latency.build import BuildConfig
from nas_tf.search.config import SearchConfig
from nas_tf.train.config import TrainConfig
from quant.finetune_config import FinetuneConfig


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """Settings of every stage.

    Attributes:
      architecture: a network that is given instead of searched; "" to search.
      target_share: the budget as a share of the way from the fastest to the slowest network
        of the space, for a device whose milliseconds one does not know yet; 0 to use
        `search.budget`.
      table: how to build the latency table, unless `search.latency_table` names one.
      kernels_given: whether the devices' kernels were asked for; else those of the latency table,
        or of the run that is gone on with, are taken instead.
      eval_kernels_given: whether those of the evaluation were; else it takes the benchmark's.
    """

    table: BuildConfig
    search: SearchConfig
    train: TrainConfig
    finetune: FinetuneConfig
    convert: ConvertConfig
    evaluate: EvaluateConfig
    benchmark: BenchmarkConfig
    architecture: str = ""
    target_share: float = 0.0
    kernels_given: bool = False
    eval_kernels_given: bool = False

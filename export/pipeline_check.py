"""What the pipeline can refuse before its first stage: the settings of all of them.

Each stage checks its own when its turn comes, which may be after days of the others' work.
"""

import dataclasses
from typing import TYPE_CHECKING

from export import convert_run
from export.pipeline_config import PipelineConfig
from nas_tf.base.errors import require
from nas_tf.base.interpreter import require_kernels
from nas_tf.base.run_folder import BENCHMARK, TABLE, RunFolder
from nas_tf.distribute.workers import ALONE, Workers
from nas_tf.latency.build import layer_specs
from nas_tf.latency.devices import HostConfig, open_device
from nas_tf.space.published import read_architecture
from nas_tf.train import config as train_config
from quant import finetune_config

if TYPE_CHECKING:
    from nas_tf.data.sources import ImageSource


def check_stages(workdir: str, config: PipelineConfig, workers: Workers = ALONE) -> int:
    """Refuses what a stage would refuse later, as far as it can be known now.

    A latency table that is there already is left to the search's own check.

    Args:
      workers: the processes that share what can be shared.

    Returns:
      The dataset's class count.

    Raises:
      UserError: as the stages.
    """
    from nas_tf.data.opening import open_config

    train_config.check_settings(config.train)
    finetune_config.check_settings(config.finetune)
    convert_run.check_settings(config.convert)
    require(
        config.evaluate.batch_size > 0,
        f"--eval_batch_size must be at least 1, not {config.evaluate.batch_size}.",
    )
    require_kernels(config.evaluate.kernels)
    source = open_config(config.train.data)
    _check_splits(config, source)
    _check_networks(config, source, workers)
    _check_shards(config, workers)
    if workers.rank == 0:
        _check_devices(workdir, config)
    return source.num_classes


def _check_splits(config: PipelineConfig, source: "ImageSource") -> None:
    from nas_tf.data.batches import image_size
    from nas_tf.data.overview import check_disjoint

    data = config.train.data
    # Refuses a split that is not there.
    source.part_size(data.train_split)
    for flag, split in (
        ("eval_split", source.evaluation_split(data.eval_split)),
        ("split", source.evaluation_split(config.evaluate.split or data.eval_split)),
    ):
        source.part_size(split)
        check_disjoint(source, ("train_split", data.train_split), (flag, split))
    image_size(source, config.train.resolution, data.resize_size)


def _check_shards(config: PipelineConfig, workers: Workers) -> None:
    # It loads TensorFlow.
    from nas_tf.distribute.shards import Shards

    train, finetune = config.train, config.finetune
    Shards(train.shards, workers).require_divides(train.batch_size, "--batch_size")
    Shards(finetune.shards, workers).require_divides(finetune.batch_size, "--finetune_batch_size")


def _check_networks(config: PipelineConfig, source: "ImageSource", workers: Workers) -> None:
    """The network that is given or searched for, and those that it is begun from or timed beside."""
    allowed = (0, source.num_classes, source.num_classes + 1)
    require(
        config.convert.num_classes in allowed,
        f"--num_classes={config.convert.num_classes} does not fit the dataset {source.name!r}; allowed: "
        f"{allowed[1]}, or {allowed[2]} with background.",
    )
    if config.train.initial_model:
        # It loads TensorFlow, and few runs need it.
        from nas_tf.train.run import match_initial

        match_initial(config.train, source)
    if config.architecture:
        read_architecture(config.architecture)
        return
    require(
        # Exactly one of them, for two budgets could contradict each other.
        bool(config.search.budget.latency_ms) != bool(config.target_share),
        "Give either --target_latency_ms or --target_latency_share.",
    )
    require(
        0 <= config.target_share <= 1,
        f"--target_latency_share must be 0 to 1, not {config.target_share:g}.",
    )
    if not config.search.latency_table:
        _check_search(config, workers)
        # For its refusal of a network that is named beside the space's.
        layer_specs(dataclasses.replace(config.table, num_classes=source.num_classes))


def _check_search(config: PipelineConfig, workers: Workers) -> None:
    from nas_tf.search.problem import check_before_table

    search = config.search
    if config.target_share:
        # Milliseconds come with the table; any will do until then.
        search = dataclasses.replace(search, budget=dataclasses.replace(search.budget, latency_ms=1.0))
    check_before_table(search, workers)


def _check_devices(workdir: str, config: PipelineConfig) -> None:
    """Kernels and threads that this machine does not have; a phone may be plugged in later."""
    measures = not config.architecture and not config.search.latency_table
    devices = ((TABLE, config.table.device),) if measures else ()
    for stage, device in (*devices, (BENCHMARK, config.benchmark.device)):
        # What was measured already may have been measured elsewhere.
        if isinstance(device, HostConfig) and not RunFolder(workdir).stage(stage).summary_path.exists():
            open_device(device).close()

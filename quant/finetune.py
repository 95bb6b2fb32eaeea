"""Fine-tunes a trained float network with fake quantizers.

python -m quant.finetune --workdir=runs/digits --dataset=digits --steps=300
"""

from flags import common, devices, paths
from flags import finetune as finetune_flags
from nas_tf.base import cli
from nas_tf.base.errors import require

MODEL = paths.DEFINE_path("model", "", "Folder of the float model; default: <workdir>/train/model.")


def main() -> None:
    """Runs the stage and prints its outcome."""
    require(bool(common.WORKDIR.value), "--workdir is required: the run folder for the result.")
    config = finetune_flags.finetune_config(MODEL.value)
    with devices.workers() as workers:
        from quant.finetune_run import run_finetune

        summary = run_finetune(common.WORKDIR.value, config, workers)
    if workers.rank:
        return
    facts = {
        key: summary[key]
        for key in (
            "float_top1",
            "qat_top1",
            "agreement",
            "snr_db",
            "steps",
            "seconds",
            "model",
            "class_names",
            "warning",
        )
        if key in summary
    }
    for change in summary["inserted"]:
        facts[f"by hand: {change['layer']}"] = change["action"]
    cli.print_facts(
        "Quantization-aware fine-tuning", facts, f"python -m export.convert --workdir={common.WORKDIR.value}"
    )


if __name__ == "__main__":
    cli.run(main)

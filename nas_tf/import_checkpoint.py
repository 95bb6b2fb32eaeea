"""Command: takes over a published ProxylessNAS network, weights and all, without PyTorch.

    python -m nas_tf.import_checkpoint --workdir=runs/a \\
        --config=proxyless-w0.3-r176_imagenet.json \\
        --checkpoint=proxyless-w0.3-r176_imagenet.pth --input_scaling=half
"""

from absl import flags

from flags import common, paths
from nas_tf.base import cli
from nas_tf.base.errors import require
from nas_tf.imported.import_run import BACKGROUNDS, ImportConfig, run_import
from nas_tf.imported.weights import SCALINGS

_CONFIG = paths.DEFINE_path(
    "config", None, "Published network configuration (.json or .config).", required=True
)
_CHECKPOINT = paths.DEFINE_path(
    "checkpoint", None, "Its PyTorch weights (.pth, either format). Nothing in it is executed.", required=True
)
_SCALING = flags.DEFINE_enum(
    "input_scaling",
    None,
    sorted(SCALINGS),
    "What the network was trained on; required, for the files do not say it: half is "
    "pixel / 127.5 - 1, imagenet is (pixel / 255 - mean) / std. It is folded into the first layer. "
    "To find out, look for Normalize(...) in the code that trained or evaluated the network: "
    "mean and std 0.5 are half; 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225 are imagenet. Else "
    "import it both ways and compare the top-1 of export.evaluate: the wrong one loses points.",
)
_RESOLUTION = flags.DEFINE_integer(
    "resolution",
    ImportConfig.resolution,
    "Side of the square input, in pixels; 0 means what the configuration says.",
    lower_bound=0,
    upper_bound=2048,
)
_RESIZE = flags.DEFINE_integer(
    "resize_size",
    ImportConfig.resize_size,
    "Short side, in pixels, before the centre crop in evaluation; 0 means resolution · 256 / 224.",
    lower_bound=0,
    upper_bound=4096,
)
_LABELS = paths.DEFINE_path(
    "labels", ImportConfig.labels, "File of one class name per line; without it classes are numbered."
)
_BACKGROUND = flags.DEFINE_enum(
    "background",
    ImportConfig.background,
    BACKGROUNDS,
    "Which output is the background class, to be dropped, for datasets have no such images and "
    "export.convert adds one anew: first, none, or auto: first if there are 1001 outputs.",
)
flags.mark_flag_as_required("workdir")


def main() -> None:
    """Imports and prints what was imported."""
    require(
        _SCALING.value is not None,
        "--input_scaling is required, for the files do not say what the network was trained on: "
        "half (pixel / 127.5 - 1; Normalize with mean and std 0.5 in its code) or imagenet "
        "((pixel / 255 - mean) / std; Normalize with mean 0.485, 0.456, 0.406); "
        "if its code is not at hand, import both ways and compare the top-1 of export.evaluate.",
    )
    summary = run_import(
        common.WORKDIR.value,
        ImportConfig(
            _CONFIG.value,
            _CHECKPOINT.value,
            _SCALING.value,
            _RESOLUTION.value,
            _RESIZE.value,
            _LABELS.value,
            _BACKGROUND.value,
        ),
    )
    cli.print_facts(
        "Imported", summary, f"python -m quant.finetune --workdir={common.WORKDIR.value} --dataset=…"
    )


if __name__ == "__main__":
    cli.run(main)

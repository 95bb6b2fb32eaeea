"""What int8 costs a trained network: post-training, AI Edge Quantizer, tfmot's default, and ours.

    python -m nas_tf.import_checkpoint --workdir=runs/w03 --config=….json --checkpoint=….pth \\
        --input_scaling=half
    python -m benchmarks.quantization_loss --workdir=runs/loss --model=runs/w03/train/model \\
        --dataset=imagenet2012 --data_dir=../shared/data/tfds

Calibration and fine-tuning see `--train_split` only; all figures are of `--eval_split`. Every
row is the int8 file, run image by image. Beside it stand the fake-quant graph of the same
weights, in float, and the share of images on which its simulation in integers
(`quant.integer_model`) agrees with the file. A row that is done is kept in `--workdir`, so that
a stopped run goes on. The rows of AI Edge Quantizer are skipped where it is not installed (`pip install
'.[peers]'`).
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable

import numpy as np
from absl import flags

from benchmarks import quantization_rows as rows
from flags import common, paths
from flags import data as data_flags
from flags import finetune as finetune_flags
from nas_tf.base import cli, files
from nas_tf.base.errors import require
from quant.comparison import bootstrap_interval, compare, mcnemar_p_value, snr_db

_MODEL = paths.DEFINE_path("model", None, "Folder of the float model.", required=True)
_ROWS = flags.DEFINE_list("rows", list(rows.MAIN), "Which rows, of: " + ", ".join(rows.ALL))
_DEFAULT_STEPS = flags.DEFINE_integer(
    "default_steps", 24, "Steps of tfmot's default fine-tuning.", lower_bound=0
)
_OUTPUT = paths.DEFINE_path("output_json", "", "Also write the figures to this file.")


def main() -> None:
    """Computes the rows that are missing and prints all of them."""
    unknown = sorted(set(_ROWS.value) - set(rows.ALL))
    require(not unknown, f"--rows has {', '.join(unknown)}; allowed: {', '.join(rows.ALL)}.")
    require(bool(common.WORKDIR.value), "--workdir is required: where finished rows are kept.")
    job = rows.open_job(
        common.WORKDIR.value,
        _MODEL.value,
        data_flags.data_config(),
        finetune_flags.finetune_config(_MODEL.value),
        _DEFAULT_STEPS.value,
    )
    reference = job.float_logits()
    right = reference.argmax(axis=1) == job.labels
    print(f"{len(job.labels)} images of {job.split!r}; float top-1 {right.mean():.2%}")
    print(
        f"{'row':<20} {'top-1':>7} {'agree':>7} {'SNR dB':>7} {'bytes':>9} "
        f"{'top-1 − float, 95 %':>22} {'p':>6} | {'graph':>8} {'agree':>8} {'= file':>8} "
        f"{'sim=file':>8}"
    )
    figures = {}
    for name in _ROWS.value:
        path = job.folder / f"{name}.npz"
        reason = "" if path.exists() else rows.unavailable(name)
        if reason:
            print(f"{name:<20} skipped: {reason}", flush=True)
            continue
        row = _kept(path, lambda name=name: rows.ALL[name](job))
        figures[name] = _figures(row, reference, job.labels)
        print(_line(name, figures[name]), flush=True)
    if _OUTPUT.value:
        files.write_json(
            _OUTPUT.value, {"images": len(job.labels), "float_top1": float(right.mean()), "rows": figures}
        )
    cli.print_facts("Quantization loss", {"rows": len(figures), "kept in": str(job.folder)})


def _kept(path: pathlib.Path, compute: Callable) -> rows.Row:
    """The row in `path`, computed and written there if it is missing."""
    if not path.exists():
        began = time.monotonic()
        row = compute()
        # Prefixed: `savez` has an argument `file` of its own.
        arrays = {f"row_{key}": value for key, value in dataclasses.asdict(row).items()}
        with files.replacing(path) as temporary:
            np.savez(temporary, seconds=time.monotonic() - began, **arrays)
    content = np.load(path, allow_pickle=False)
    return rows.Row(**{f.name: content[f"row_{f.name}"] for f in dataclasses.fields(rows.Row)})


def _figures(row: rows.Row, reference: np.ndarray, labels: np.ndarray) -> dict:
    found = compare(reference, row.file, labels)
    right, expected = row.file.argmax(1) == labels, reference.argmax(1) == labels
    figures = {
        **dataclasses.asdict(found),
        "bytes": int(row.size),
        "interval": bootstrap_interval(right, expected),
        "p_value": mcnemar_p_value(right, expected),
    }
    if row.simulated.size:
        simulated = compare(row.file, row.simulated, labels)
        figures |= {
            "simulated_top1": simulated.top1,
            "simulated_agreement": compare(reference, row.simulated, labels).agreement,
            "simulated_equals_file": simulated.agreement,
        }
    if row.integer.size:
        figures |= {
            "integer_equals_file": compare(row.file, row.integer, labels).agreement,
            # Equal logits are infinitely close, for which JSON has no number.
            "integer_snr_db": min(snr_db(row.file, row.integer), 999.0),
        }
    return figures


def _line(name: str, f: dict) -> str:
    low, high = f["interval"]
    line = (
        f"{name:<20} {f['top1']:>7.2%} {f['agreement']:>7.2%} {f['snr_db']:>7.2f} "
        f"{f['bytes']:>9} {f['top1'] - f['reference_top1']:>+7.2%} [{low:+.2%}, {high:+.2%}] "
        f"{f['p_value']:>6.3f} |"
    )
    for key in ("simulated_top1", "simulated_agreement", "simulated_equals_file", "integer_equals_file"):
        line += f" {f[key]:>8.2%}" if key in f else f" {'-':>8}"
    return line


if __name__ == "__main__":
    cli.run(main)

"""What the commands of README.md and docs/ need around them, and how long ones are shortened.

Everything that makes a command another one than the page shows stands here.
"""

import re

# Words of the pages that stand for something of the reader's.
PLACEHOLDERS = {
    "nas-tf COMMAND": "nas-tf search",
    "python classify.py model_int8.tflite": "python classify.py runs/quickstart/convert/model_int8.tflite",
}

_TABLE = "--num_runs=5 --latency_extra_seconds=0"
_SEARCH = "--search_tied_epochs=0 --search_warmup_epochs=1 --search_epochs=1 --search_held_out=0.2"
_TRAINING = "--epochs=1 --steps=1"
_SHARE = "--train_split=train[:2%] --eval_split=test[:2%] --split=test[:2%]"  # of a large dataset
# 200 images and a processor, in place of 1.28 million and accelerators.
_SAMPLE = (
    "--mixed_precision=false --jit_compile=false --batch_size=40 --search_batch_size=40 "
    "--finetune_batch_size=8 --finetune_calibration_images=16"
)
# The first expression that is found in a command appends its flags, all of them in the command's help.
SHORTER = (
    (r"pipeline --preset=quickstart", f"{_SEARCH} {_TRAINING} {_TABLE}"),
    (r"pipeline .*--dataset=photos", f"{_SEARCH} {_TRAINING} {_TABLE}"),
    (
        r"pipeline --preset=(imagenet|proxylessnas|mobilenet)",
        f"{_SEARCH} {_TRAINING} {_SAMPLE} {_TABLE}",
    ),
    (
        r"pipeline --preset=cifar10",
        f"{_SEARCH} {_TRAINING} {_TABLE} {_SHARE}",
    ),
    (r"build_latency_table .*--correction_networks", f"{_TABLE} --correction_networks=6"),
    (r"build_latency_table", _TABLE),
    (r"check_latency_table", "--num_networks=3 --num_runs=5"),
    (
        r"nas_tf\.search .*--finalists",
        "--train_split=train[:2%] --search_held_out=0.2 --target_latency_ms=0.11 --judged_networks=2 "
        "--judge_rounds=2 --finalists=2 --finalist_epochs=0.5",
    ),
    (r"nas_tf\.search", f"{_SEARCH} --train_split=train[:2%]"),
    (r"nas-tf finetune", "--finetune_calibration_images=16"),
    (r"export\.(benchmark|table1)", "--num_runs=5"),
    (r"benchmarks\.checkpoint_cost --workdir", "--train_split=train[:2%] --eval_split=test[:2%] --epochs=1"),
    (r"benchmarks\.oblong_photos", "--train_images=400 --eval_split=test[:100]"),
    (r"nas_tf\.train .*runs/oblong", "--epochs=1"),
    (r"benchmarks\.most_macs", "--num_runs=5 --spaces=full"),
    (r"benchmarks\.quantization_loss", "--rows=minmax"),
    (r"quant\.parity", "--num_images=2"),
    (r"benchmarks\.input_pipeline", "--images=10 --rounds=1 --resolutions=160"),
    (r"benchmarks\.latency_objectives", "--seeds=1 --steps=20"),
    (r"benchmarks\.skewed_tables", "--seeds=1 --steps=20 --skews=5 --target_shares=0.5"),
    (r"search_step\.py", "--rounds=1 --networks=1 --memory_steps=1 --resolution=32 --batch_size=4"),
    (
        r"benchmarks\.search_beats_baselines",
        f"{_SEARCH} {_SHARE} --judged_networks=2 --finalists=2 --finalist_epochs=0.1 --epochs=1 "
        "--eval_every=1 --random_networks=2 --repeated_networks=1 --search_seeds=1 --control_seeds=1 "
        "--train_seeds=1 --baseline_resolutions=32 --finetune_calibration_images=16 --num_runs=5 "
        "--min_share=0.1 --target_latency_ms=0.11 --learning_rate=0.02",
    ),
    (
        r"benchmarks\.finetuning_steps",
        f"{_SHARE} --step_counts=2 --finetuning_seeds=1 --finetune_calibration_images=16",
    ),
    (r"benchmarks\.mutation", "--mutants=1 --only=nas_tf/space/*"),
)

# Run after all others, since they take what commands of later pages make.
LAST = (r"benchmarks\.finetuning_steps",)

# The first expression that is found in a command says why it is not run.
NOT_RUN = (
    (r"benchmarks\.run_documents", "this very command"),
    (r"^make (test|lint)", "the gate runs it (.ci/run)"),
    (r"^make quickstart", "the preset of the README's second command, in an environment of its own"),
    (r"-m pytest", "a part of the tests, which the gate runs"),
    (r"^pip install \.$", "the README's first command"),
    (r"^pip install '\.\[peers\]'$", "an extra of one benchmark, which is skipped without it"),
    (r"benchmarks\.(searched_and_random|random_kills)$", "named without its flags"),
    (r"^python classify\.py$", "named without a model and an image"),
)


def not_run(text: str) -> str:
    """Why a command is left out, or nothing."""
    return next((why for pattern, why in NOT_RUN if re.search(pattern, text)), "")


def is_last(text: str) -> bool:
    """Whether a command needs what those of later pages make."""
    return any(re.search(pattern, text) for pattern in LAST)


def as_run(text: str) -> str:
    """The command with its placeholders replaced, and shortened."""
    for word, mine in PLACEHOLDERS.items():
        text = text.replace(word, mine)
    flags = next((flags for pattern, flags in SHORTER if re.search(pattern, text)), "")
    # Help is short as it is.
    return text if not flags or "--help" in text else f"{text} {_quoted(flags)}"


def _quoted(flags: str) -> str:
    return " ".join(f"'{flag}'" if set(flag) & set("[*%") else flag for flag in flags.split())

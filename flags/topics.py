"""Help of a command by topic: the flags that most people need first, then the others by subject."""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from absl import flags

# Of these, the first ten that a command has are shown first.
MOST_NEEDED = (
    "workdir",
    "model",
    "dataset",
    "data_dir",
    "architecture",
    "space",
    "resolution",
    "latency_table",
    "target_latency_ms",
    "target_latency_share",
    "output",
    "epochs",
    "steps",
    "width_multiplier",
    "backend",
    "compare_with",
    "split",
    "num_classes",
    "config",
    "checkpoint",
    "input_scaling",
    "batch_size",
    "learning_rate",
    "search_epochs",
    "kernels",
    "num_runs",
    "top",
    "output_json",
    "seed",
)
SHOWN_FIRST = 10
TITLES = {
    "architecture": "The network",
    "space": "The space of networks",
    "data": "Images",
    "augmentation": "Augmentation",
    "latency": "Latency and devices",
    "search": "Search",
    "train": "Training",
    "finetune": "Quantization-aware fine-tuning",
    "convert": "Conversion",
    "model_input": "The input of a file",
    "evaluate": "Evaluation",
    "pipeline": "The pipeline as a whole",
    "compute": "Computing",
    "saving": "Saving",
    "devices": "Several devices",
    "shards": "Parts of a batch",
    "common": "The run",
}
_OF_THE_COMMAND = "This command"


def topics(defined: Mapping[str, Sequence[flags.Flag]]) -> dict[str, list[flags.Flag]]:
    """Title → flags of ours, by name; the ten most needed ones first and in their order.

    Args:
      defined: module → its flags, as `flags.FLAGS.flags_by_module_dict()` has them; those of other
        packages than ours are left out.
    """
    ours: dict[str, list[flags.Flag]] = {}
    for module, row in defined.items():
        package, _, name = module.partition(".")
        if package == "flags" and name in TITLES:
            ours.setdefault(TITLES[name], []).extend(row)
        elif package in ("nas_tf", "quant", "export", "flags") or module == sys.argv[0]:
            ours.setdefault(_OF_THE_COMMAND, []).extend(row)
    by_name = {flag.name: flag for row in ours.values() for flag in row}
    first = [by_name[name] for name in MOST_NEEDED if name in by_name][:SHOWN_FIRST]
    shown = {"Most needed": first}
    for title in (_OF_THE_COMMAND, *TITLES.values()):
        rest = [flag for flag in ours.get(title, ()) if flag not in first]
        if rest:
            shown[title] = sorted(rest, key=lambda flag: flag.name)
    return shown


def text(about: str, values: flags.FlagValues) -> str:
    """The whole help.

    Args:
      about: what the command does, with examples.
      values: with all flags of the command defined.
    """
    width = min(max(shutil.get_terminal_size().columns, 60), 110)
    # A backslash at the end of a docstring's line joins it with the next and its indentation.
    lines = [re.sub(r"(\S) {5,}", r"\1 ", about.strip())]
    for title, row in topics(values.flags_by_module_dict()).items():
        lines += ["", f"{title}:", *(line for flag in row for line in _lines(flag, values, width))]
    return "\n".join(lines)


def _lines(flag: flags.Flag, values: flags.FlagValues, width: int) -> Iterable[str]:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    words = " ".join((flag.help or "").split())
    yield from textwrap.wrap(
        f"{name:<28}  {words} ({_default(flag, values)})",
        width,
        initial_indent="  ",
        subsequent_indent=" " * 32,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _default(flag: flags.Flag, values: flags.FlagValues) -> str:
    if flag.default is None:
        return "required" if _is_required(flag, values) else "not set"
    return f"default {flag.default_as_str}"


def _is_required(flag: flags.Flag, values: flags.FlagValues) -> bool:
    """Whether the command refuses to begin while the flag, alone, is not set."""
    for validator in flag.validators:
        try:
            validator.verify(values)
        except flags.ValidationError:
            return True
        except flags.UnparsedFlagAccessError:
            continue
    return False

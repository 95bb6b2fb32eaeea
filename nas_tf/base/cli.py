"""What every command line does the same: start fast, fail in one sentence, print the result."""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags
from absl import logging as absl_logging

from nas_tf.base import files
from nas_tf.base.errors import UserError
from nas_tf.base.startup import quiet_tensorflow

_HELP = ("h", "help", "helpshort", "helpfull", "helpxml", "help-xml")


def run(main: Callable[..., None], takes_files: bool = False) -> None:
    """Parses flags and runs `main`; a `UserError` becomes one sentence and exit status 1.

    Args:
      main: called without arguments.
      takes_files: whether arguments may stand without a flag, before or after flags; `main` is then
        called with their list.
    """
    flags.FLAGS.set_gnu_getopt(takes_files)
    # TensorFlow's start-up chatter would bury the command's own first lines.
    quiet_tensorflow()
    # Depthwise convolutions two to three times as fast; TensorFlow's default on newer processors.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    _show_shared_flags_in_help()
    try:
        app.run(lambda argv: _guarded(main, argv, takes_files))
    except SystemExit as ended:
        # absl exits with 1 after showing help, but help that was asked for is a success.
        asked = any(argument.lstrip("-") in _HELP for argument in sys.argv[1:])
        sys.exit(0 if asked and ended.code == 1 else ended.code)


def check_outputs(*paths: str | None) -> None:
    """Refuses, before any work, files that could not be written; empty names are left out."""
    for path in filter(None, paths):
        files.check_writable(path)


def print_facts(title: str, facts: dict[str, Any], next_command: str = "") -> None:
    """Prints a stage's outcome for a person, ending with the command to run next."""
    print(f"\n{title}")
    width = max((len(k) for k in facts), default=0)
    for key, value in facts.items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        print(f"  {key:<{width}}  {shown}")
    if next_command:
        print(f"next: {next_command}")
    sys.stdout.flush()


def _guarded(main: Callable[..., None], argv: list[str], takes_files: bool = False) -> int:
    if not flags.FLAGS["verbosity"].present:
        # absl's log would stand between the command's own. Here and not earlier, because absl sets
        # its level when the application starts.
        flags.FLAGS.verbosity = absl_logging.ERROR
    try:
        if len(argv) > 1 and not takes_files:
            raise UserError(f"Unexpected argument {argv[1]!r}; flags are written --name=value.")
        main(*([argv[1:]] if takes_files else []))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command takes the work up where it was last saved.", file=sys.stderr)
        return 130  # what shells give a program that Ctrl-C ended
    return 0


def _show_shared_flags_in_help() -> None:
    """Makes the flags of the `flags` package key flags of the command, as if defined in it."""
    # absl's --help shows the key flags of the command's own module only.
    for module, defined in list(flags.FLAGS.flags_by_module_dict().items()):
        if module.startswith("flags."):
            for flag in defined:
                flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)

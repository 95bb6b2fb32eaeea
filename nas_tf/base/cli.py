"""What every command line does the same: start fast, fail in one sentence, print the result."""

import errno
import logging
import math
import os
import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags
from absl import logging as absl_logging

from nas_tf.base import files, flag_parsing, run_history, stopping, streams, subcommands
from nas_tf.base.errors import UserError, require
from nas_tf.base.startup import quiet_tensorflow

# What the disk, its rights and its limits refuse, wherever it happens: no fault of the program.
_SURROUNDINGS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EIO", "EMFILE", "ENFILE", "ENAMETOOLONG")
    if hasattr(errno, name)
}
_HELP = ("h", "help", "helpshort", "helpfull", "helpxml", "help-xml")


def run(main: Callable[..., None], takes_files: bool = False, resumes: bool = True) -> None:
    """Parses flags and runs `main`; a `UserError` becomes one sentence and exit status 1.

    Output that nobody reads any more (`| head`) ends the command quietly, with the exit status that
    shells give for it; output that cannot be written (a full disk) is an error like others.

    Args:
      main: called without arguments.
      takes_files: whether arguments may stand without a flag, before or after flags; `main` is then
        called with their list.
      resumes: whether the same command takes up what was stopped; else it begins anew.
    """
    streams.make_writable()
    flags.FLAGS.set_gnu_getopt(takes_files)
    # TensorFlow's start-up chatter would bury the command's own first lines.
    quiet_tensorflow()
    # Depthwise convolutions two to three times as fast; TensorFlow's default on newer processors.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    _show_shared_flags_in_help()
    show = subcommands.help_instead()
    try:
        if show:
            show()
            sys.stdout.flush()
            sys.exit(0)
        app.run(lambda argv: _guarded(main, argv, takes_files, resumes), flags_parser=flag_parsing.parse)
    except SystemExit as ended:
        # absl exits with 1 after showing help, but help that was asked for is a success.
        asked = any(argument.lstrip("-") in _HELP for argument in sys.argv[1:])
        sys.exit(streams.end(0 if asked and ended.code == 1 else ended.code))
    except BrokenPipeError:
        # Help is shown before there is a command that could be guarded.
        sys.exit(streams.end(streams.BROKEN_PIPE))


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
        print(f"next: {subcommands.as_called(next_command)}")
    sys.stdout.flush()


def _guarded(
    main: Callable[..., None], argv: list[str], takes_files: bool = False, resumes: bool = True
) -> int:
    if not flags.FLAGS["verbosity"].present:
        # absl's log would stand between the command's own. Here and not earlier, because absl sets
        # its level when the application starts.
        flags.FLAGS.verbosity = absl_logging.ERROR
    stopping.listen()
    run_history.begin()
    try:
        if len(argv) > 1 and not takes_files:
            raise UserError(f"Unexpected argument {argv[1]!r}; flags are written --name=value.")
        _require_finite_flags()
        main(*([argv[1:]] if takes_files else []))
        # Here, where a refusal of the last lines still becomes a sentence.
        sys.stdout.flush()
    except UserError as error:
        streams.say(f"error: {subcommands.as_called(str(error))}")
        return 1
    except BrokenPipeError:
        return streams.BROKEN_PIPE
    except streams.OutputError as error:
        streams.say(f"error: {error.sentence()}")
        return 1
    except OSError as error:
        if error.errno not in _SURROUNDINGS:
            raise
        named = f"{error.filename!r}: " if error.filename else ""
        streams.say(f"error: {named}{error.strerror}.")
        return 1
    except KeyboardInterrupt:
        then = "takes the work up where it was last saved" if resumes else "begins the work anew"
        streams.say(f"\nStopped. The same command {then}.")
        return 130  # what shells give a program that Ctrl-C ended
    except stopping.Terminated:
        then = "goes on with it" if resumes else "begins it anew"
        streams.say(f"\nStopped by SIGTERM. This {then}:\n  {stopping.command()}")
        return stopping.EXIT_STATUS
    return 0


def _require_finite_flags() -> None:
    """Refuses nan and inf, which absl takes for any number: they pass every comparison with a bound."""
    for name, value in flags.FLAGS.flag_values_dict().items():
        for number in value if isinstance(value, (list, tuple)) else (value,):
            require(
                not isinstance(number, float) or math.isfinite(number),
                f"--{name}={number} is not a finite number; one is needed.",
            )


def _show_shared_flags_in_help() -> None:
    """Makes the flags of the `flags` package key flags of the command, as if defined in it."""
    # absl's --help shows the key flags of the command's own module only.
    for module, defined in list(flags.FLAGS.flags_by_module_dict().items()):
        if module.startswith("flags."):
            for flag in defined:
                flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)

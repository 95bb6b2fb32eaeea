"""Command: all others under one name.

nas-tf COMMAND --flag=value …     as python -m MODULE --flag=value …
nas-tf COMMAND --help             its flags by topic, the most needed ones first (--helpfull: all)
nas-tf COMMAND --preset=NAME …    with the flags of a preset; those that are written out hold
nas-tf presets                    the presets
"""

import runpy
import sys

from nas_tf.base import neighbours, streams, subcommands
from nas_tf.base.errors import UserError, did_you_mean

_HELP = ("-h", "-help", "--help", "-helpshort", "--helpshort", "help")


def main() -> None:
    """Entry point of `nas-tf`."""
    streams.make_writable()
    arguments = sys.argv[1:]
    if len(arguments) == 2 and arguments[0] == "help":
        arguments = [arguments[1], "--help"]
    try:
        neighbours.check()
        status = _answer(arguments)
    except UserError as error:
        streams.say(f"error: {error}")
        status = 1
    except BrokenPipeError:
        status = streams.BROKEN_PIPE
    if status is not None:
        sys.exit(streams.end(status))
    _run(arguments[0], arguments[1:])


def _answer(arguments: list[str]) -> int | None:
    """What needs no subcommand's module, with its exit status; None if one is to be run."""
    name = arguments[0] if arguments else "--help"
    if name in _HELP:
        _print_commands()
    elif name == "--version":
        from importlib import metadata

        print(f"nas_tf {metadata.version('nas_tf')}")
    elif name == "presets":
        _print_presets()
    else:
        _find(name)
        return None
    sys.stdout.flush()
    return 0


def _find(name: str) -> str:
    """The module of a subcommand; hyphens are as good as underscores."""
    known = subcommands.BY_NAME
    module = known.get(name.replace("-", "_"))
    if module is None:
        names = (*known, "presets")
        meant = did_you_mean(name, names)
        raise UserError(f"There is no command {name!r}; there are {', '.join(names)}.{meant}")
    return module


def _run(name: str, arguments: list[str]) -> None:
    """Runs a subcommand as `python -m` does."""
    from flags import presets

    wants_help = any(argument in _HELP[:-1] for argument in arguments)
    try:
        arguments = presets.expand(arguments)
    except UserError as error:
        streams.say(f"error: {error}")
        sys.exit(streams.end(1))
    warning = neighbours.stranger_warning()
    if warning:
        streams.say(f"warning: {warning}")
    subcommands.called_by_name(_show_help if wants_help else None)
    sys.argv[1:] = arguments
    runpy.run_module(_find(name), run_name="__main__", alter_sys=True)


def _show_help() -> None:
    from absl import flags

    from flags import topics

    # The command's own, which runs under this name now.
    about = sys.modules["__main__"].__doc__ or ""
    print(topics.text(subcommands.as_called(about), flags.FLAGS))
    print("\nAlso --preset=NAME (nas-tf presets lists them), --flagfile=FILE, and --helpfull.")


def _print_commands() -> None:
    print("From images and a phone's latency table to an int8 .tflite within the budget.\n")
    print("nas-tf COMMAND --flag=value …; nas-tf COMMAND --help explains its flags.\n")
    width = max(map(len, subcommands.BY_NAME))
    for name, module in subcommands.BY_NAME.items():
        print(f"  {name:<{width}}  {subcommands.first_sentence(module)}")
    print(f"  {'presets':<{width}}  Lists the presets, for --preset=NAME")


def _print_presets() -> None:
    from flags import presets

    width = max(map(len, presets.names()))
    for name in presets.names():
        print(f"{name:<{width}}  {presets.first_sentence(name)}")
    print("\nnas-tf pipeline --preset=NAME …; flags that are written out hold instead of a preset's.")


if __name__ == "__main__":
    main()

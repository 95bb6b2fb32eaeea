"""Flags that hold a path: `~` and environment variables are expanded, wherever the flag was set.

A shell expands them only at the start of a word (not in --workdir=~/runs), and nothing does in a
preset (--flagfile) or in a program that starts another without a shell.
"""

import os
import re

from absl import flags

_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")

# Flags count as defined by the module that calls `DEFINE_path`, under which help lists them.
flags.disclaim_key_flags()


class PathParser(flags.ArgumentParser):
    """Expands a path; refuses a name of a user or variable that does not exist."""

    syntactic_help = "a path; ~ and $VARIABLE are expanded"

    def parse(self, argument: str | None) -> str | None:
        """The expanded path; `ValueError` where something in it cannot be expanded."""
        if not argument:
            return argument
        path = os.path.expandvars(os.path.expanduser(argument))
        if not os.path.lexists(path):  # else it is a name with these characters
            unknown = _VARIABLE.search(path)
            if unknown:
                raise ValueError(f"there is no environment variable {unknown.group(1).strip('{}')!r}")
            if path.startswith("~"):
                raise ValueError(f"there is no user {path.split('/')[0]!r}")
        return path

    def flag_type(self) -> str:
        """Shown in help."""
        return "path"


def DEFINE_path(
    name: str,
    default: str | None,
    help: str,
    required: bool = False,
) -> flags.FlagHolder:
    """A flag that holds a path; its value is the expanded one.

    Args:
      name, default, help, required: as in `flags.DEFINE_string`.
    """
    return flags.DEFINE(
        PathParser(), name, default, help, serializer=flags.ArgumentSerializer(), required=required
    )


def DEFINE_multi_path(name: str, help: str) -> flags.FlagHolder:
    """A flag that may be given several times; its value is the list of expanded paths, empty by default."""
    return flags.DEFINE_multi(PathParser(), flags.ArgumentSerializer(), name, [], help)

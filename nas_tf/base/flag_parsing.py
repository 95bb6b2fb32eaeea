"""Parsing flags, with what is wrong said in the form of all other refusals."""

import re
import sys

from absl import flags

from nas_tf.base import streams

# What absl says of a required flag that was not given, one line for each.
_MISSING = re.compile(r"flag --(\w+)=None: Flag --\w+ must have a value other than None\.?")


def parse(argv: list[str]) -> list[str]:
    """The arguments that are no flags, after the program's name; ends the program where a flag is wrong."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        streams.say(f"error: {sentence(str(error))}\n--help lists the flags.")
        sys.exit(1)


def sentence(message: str) -> str:
    """absl's message, in which all required flags that were not given become one sentence."""
    missing = _MISSING.findall(message)
    others = [line.strip() for line in _MISSING.sub("", message).splitlines() if line.strip()]
    if missing:
        names = [f"--{name}" for name in missing]
        listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        others.insert(0, f"{listed} {'is' if len(names) == 1 else 'are'} required.")
    return " ".join(line if line.endswith((".", "?")) else f"{line}." for line in others)

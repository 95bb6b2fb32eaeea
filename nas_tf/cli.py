"""What every command line does the same: start fast, fail in one sentence, print the result."""

import os
import sys
from typing import Any, Callable

from absl import app

from nas_tf.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Parses flags and runs `main`; a `UserError` becomes one sentence and exit status 1."""
    # TensorFlow's start-up chatter would bury the command's own first lines.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    def guarded(argv: list[str]) -> int:
        try:
            if len(argv) > 1:
                raise UserError(
                    f"Unexpected argument {argv[1]!r}; flags are written --name=value.")
            main()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nStopped. The same command goes on from the last checkpoint.", file=sys.stderr)
            return 130
        return 0

    app.run(guarded)


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

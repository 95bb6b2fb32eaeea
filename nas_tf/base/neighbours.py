"""The packages beside `nas_tf` have everyday names: does Python find ours, whole and unmixed?

Another `flags`, `quant` or `export` hides ours if it lies in a folder that Python searches first: the
current one with `python -m`, or one of PYTHONPATH. And two distributions with a package of one name are
installed into the same folder, where the later one writes over the other without a word.
"""

import importlib.util
import pathlib
import sys
from collections.abc import Sequence

from nas_tf.base.errors import UserError

NAMES = ("quant", "export", "flags")
MARK = 'PART_OF = "nas_tf"'
_HOME = pathlib.Path(__file__).resolve().parents[2]


def check(home: pathlib.Path = _HOME) -> None:
    """Raises `UserError` if Python finds another package than ours under one of our names.

    Args:
      home: folder in which `nas_tf` lies, and its neighbours have to.
    """
    for name in NAMES:
        found = _origin(name)
        ours = home / name / "__init__.py"
        if found is None:
            raise UserError(
                f"The package {name!r} of nas_tf is missing; {ours} was expected. Install nas_tf again."
            )
        if found != ours:
            raise UserError(
                f"Python finds another package {name!r} before that of nas_tf: {found}, where {ours} is "
                "meant. Rename that one, take its folder out of PYTHONPATH, or run the installed command "
                "nas-tf from elsewhere: it does not look into the current folder."
            )
        if MARK not in found.read_text(encoding="utf-8", errors="replace"):
            raise UserError(
                f"{found} is not that of nas_tf: {_owners(name)} was installed into the same folder. "
                "Install nas_tf into an environment of its own (python -m venv), or install it again "
                "without the other."
            )


def end_if_hidden(arguments: Sequence[str]) -> None:
    """Ends a command of ours that is begun by `python -m`, in one sentence, if `check` finds something.

    Whoever imports `nas_tf` as a library needs no `flags` of ours, and may have one.

    Args:
      arguments: `sys.orig_argv`.
    """
    module = next((b for a, b in zip(arguments, arguments[1:], strict=False) if a == "-m"), "")
    if module.split(".")[0] not in ("nas_tf", *NAMES):
        return
    try:
        check()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def strangers(home: pathlib.Path = _HOME) -> list[pathlib.Path]:
    """Python files in our packages that nas_tf did not install, so another distribution did.

    Empty where nas_tf runs out of its repository, since then nothing tells which files are ours.
    """
    # What setuptools leaves there lists the files of the last install, not those that were added since.
    if (home / "setup.py").exists():
        return []
    # Here and in `_owners`: it takes as long to load as all else that every command checks.
    from importlib import metadata

    try:
        distribution = metadata.distribution("nas_tf")
    except metadata.PackageNotFoundError:
        return []
    listed = {file.as_posix() for file in distribution.files or () if file.parts[0] in NAMES}
    if not listed or pathlib.Path(str(distribution.locate_file(""))).resolve() != home:
        return []
    files = (file for name in NAMES for file in sorted((home / name).rglob("*.py")))
    return [file for file in files if file.relative_to(home).as_posix() not in listed]


def stranger_warning(home: pathlib.Path = _HOME) -> str:
    """A sentence about `strangers`, or nothing."""
    found = strangers(home)
    if not found:
        return ""
    name = found[0].relative_to(home).parts[0]
    return (
        f"{found[0]} is no file of nas_tf: {_owners(name)} has a package {name!r} in the same folder, and "
        "may not work any more. Give each an environment of its own (python -m venv)."
    )


def _origin(name: str) -> pathlib.Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module of that name that says not where it is from
        spec = None
    if spec is None or spec.origin is None:
        # A folder without __init__.py is taken only where nothing else is found.
        return None
    return pathlib.Path(spec.origin).resolve()


def _owners(name: str) -> str:
    from importlib import metadata

    owners = metadata.packages_distributions().get(name, [])
    others = sorted(set(owners) - {"nas_tf", "nas-tf"})
    return f"the distribution {others[0]!r}" if others else "something else"

"""The files of a folder's checkpoints: which there are, whether they are whole, which are kept.

    ckpt-<step>.data-…, ckpt-<step>.index   what TensorFlow writes, the index last
    ckpt-<step>.json                        digests of both; written after them, so it marks a whole save
    checkpoint                              TensorFlow's list of what is kept, for its own tools
    damaged/                                what was found damaged and gone behind

Which checkpoints there are is told by these names, not by TensorFlow's list alone: a run must not
start over because that list is gone.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
from typing import Any

from nas_tf.base import files
from nas_tf.base.errors import UserError

_FORMAT = "nas_tf.checkpoint/1"
_STATE_FILE = "checkpoint"
_NAME = re.compile(r"ckpt-(\d+)([._].*)")
_MENTIONED = re.compile(r'"(?:[^"]*/)?ckpt-(\d+)"')


class CheckpointFiles:
    """Checkpoints by the step after which they were written.

    Args:
      folder: where they lie; need not exist.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder

    def prefix(self, step: int) -> pathlib.Path:
        """What the names of a checkpoint's files begin with."""
        return self._folder / f"ckpt-{step}"

    def steps(self) -> list[int]:
        """Steps of all that was saved here, whole or not, the latest first.

        A data file alone is none: the save that wrote it was cut short before its index.
        """
        found = {step for step, rest, _ in self._listed() if rest in (".index", ".json")}
        return sorted(found | self._mentioned(), reverse=True)

    def is_unreadable(self) -> bool:
        """Whether there was something, of which not even a name is left."""
        return (self._folder / _STATE_FILE).exists() and not self.steps()

    def fault(self, step: int) -> str:
        """What is wrong with a checkpoint, in words; empty if nothing is."""
        prefix = self.prefix(step)
        index = prefix.with_name(f"{prefix.name}.index")
        if not index.exists():
            return f"{index.name} is missing"
        held = self._digests(step)
        # Of earlier versions, or cut short before its digests: TensorFlow's own checksums remain.
        if held is None:
            return _unreadable(prefix)
        for name, digest in held.items():
            path = self._folder / name
            if not path.exists():
                return f"{name} is missing"
            try:
                whole = files.sha256(path) == digest
            except UserError as error:
                return str(error).removesuffix(".")
            if not whole:
                return f"{name} is not what was written"
        return ""

    def begin(self, step: int) -> None:
        """Makes the folder ready for TensorFlow to write a checkpoint."""
        files.make_folder(self._folder)
        # Digests of an earlier save of this step would call the new one damaged.
        self._digest_path(step).unlink(missing_ok=True)

    def seal(self, step: int, keep: int) -> None:
        """Makes a written checkpoint last, and removes all but the latest `keep`."""
        paths = sorted(path for at, _, path in self._listed() if at == step)
        for path in paths:
            files.sync(path)
        files.sync_folder(self._folder)
        digests = {path.name: files.sha256(path) for path in paths}
        content = {"format": _FORMAT, "step": step, "files": digests}
        files.write_json(self._digest_path(step), content | {"sha256": _digest(content)})
        kept = [at for at in self.steps() if at <= step][:keep]
        files.write_text(self._folder / _STATE_FILE, self._list(kept))
        for at in {at for at, *_ in self._listed()} - set(kept):
            self.remove(at)

    def _list(self, kept: list[int]) -> str:
        """TensorFlow's list of these checkpoints, the latest first in `kept` and last in the list."""
        names = [self.prefix(step).name for step in reversed(kept)]
        times = [self.prefix(step).with_suffix(".index") for step in reversed(kept)]
        lines = [f'model_checkpoint_path: "{names[-1]}"']
        lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
        lines += [
            f"all_model_checkpoint_timestamps: {path.stat().st_mtime if path.exists() else 0.0}"
            for path in times
        ]
        return "\n".join(lines) + "\n"

    def remove(self, step: int) -> None:
        """Removes what there is of a checkpoint, and what a save of it left half done."""
        # The digests first: an index without them is read by TensorFlow's checksums, but digests
        # without the files that they are of mean damage. Then the index, which makes it one.
        paths = [path for at, _, path in self._listed() if at == step]
        for path in sorted(paths, key=lambda p: (p.suffix != ".json", p.suffix != ".index")):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def set_aside(self, step: int) -> pathlib.Path:
        """Moves a damaged checkpoint where nothing looks for it, and returns that folder."""
        aside = files.make_folder(self._folder / "damaged")
        with files.saving(aside):
            for at, _, path in self._listed():
                if at == step:
                    os.replace(path, aside / path.name)
        return aside

    def forget_list(self) -> None:
        """Removes TensorFlow's list, which names what was set aside; the next save writes it."""
        with contextlib.suppress(FileNotFoundError), files.saving(self._folder / _STATE_FILE):
            (self._folder / _STATE_FILE).unlink()

    def size(self, step: int) -> int:
        """Bytes of a checkpoint."""
        return sum(path.stat().st_size for at, _, path in self._listed() if at == step)

    def free(self) -> int:
        """Bytes that this user may still write here."""
        folder = self._folder
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def _listed(self) -> list[tuple[int, str, pathlib.Path]]:
        """(step, rest of the name, path) of everything that belongs to a checkpoint."""
        if not self._folder.is_dir():
            return []
        matches = ((_NAME.fullmatch(path.name), path) for path in self._folder.iterdir())
        return [(int(match[1]), match[2], path) for match, path in matches if match]

    def _mentioned(self) -> set[int]:
        """Steps in TensorFlow's list, as far as it can be read."""
        try:
            text = (self._folder / _STATE_FILE).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return set()
        latest = [line for line in text.splitlines() if line.startswith("model_checkpoint_path")]
        return {int(step) for line in latest for step in _MENTIONED.findall(line)}

    def _digest_path(self, step: int) -> pathlib.Path:
        return self._folder / f"ckpt-{step}.json"

    def _digests(self, step: int) -> dict[str, str] | None:
        """File name → digest; None if there are none that can be read."""
        try:
            held = files.read_json(self._digest_path(step), "digests")
            # They may be what is damaged, and not what they are of.
            whole = held.pop("sha256") == _digest(held) and held["format"] == _FORMAT
        except (UserError, RecursionError, KeyError, TypeError, AttributeError):
            return None
        return held["files"] if whole and held["step"] == step else None


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _unreadable(prefix: pathlib.Path) -> str:
    """What TensorFlow cannot read of a checkpoint, in words, by the checksums of its format."""
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    # Its errors have many types, some of them without a message.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        return f"{prefix.name} cannot be read ({reason})"
    return ""

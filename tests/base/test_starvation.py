"""A disk without room and a folder without permission: one sentence, and what was there is intact."""

import os

import numpy as np
import pytest
import tensorflow as tf

from nas_tf.base import files, quiet
from nas_tf.base.checkpoints import FOLDER, RunCheckpoint
from nas_tf.base.errors import UserError
from nas_tf.base.metric_log import METRICS_FILE, MetricLog, read_metrics

_FULL = "No space left on device"


def _content(folder) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "full"
    }


def test_a_file_is_whole_or_as_it_was(small_disk):
    path = small_disk.path / "a.json"
    files.write_json(path, {"x": 1})
    small_disk.fill()
    before = _content(small_disk.path)
    with pytest.raises(UserError, match=f"Cannot write '.*a.json': {_FULL}. What was saved before is intact"):
        files.write_json(path, {"x": "y" * 10000})
    assert _content(small_disk.path) == before


def _run(folder):
    kernel = tf.Variable(tf.zeros([1 << 17]))  # half a megabyte
    return kernel, RunCheckpoint(folder, kernel=kernel)


# Of 512 KB: nothing can be written; a part of the data; the data and no digests.
@pytest.mark.parametrize("left", [0, 200_000, 528_384])
def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(small_disk, left):
    kernel, checkpoint = _run(small_disk.path)
    kernel.assign_add(tf.ones_like(kernel))
    checkpoint.save(1)
    before = _content(small_disk.path)
    small_disk.fill(left)
    kernel.assign_add(tf.ones_like(kernel))
    with pytest.raises(UserError) as refused:
        checkpoint.save(2)
    message = str(refused.value)
    assert _FULL in message and "the same command goes on" in message and "\n" not in message
    assert "[[" not in message and "Op:" not in message
    assert _content(small_disk.path) == before
    assert not list(small_disk.path.rglob("*_temp*"))
    small_disk.empty()
    checkpoint.save(2)
    kernel, resumed = _run(small_disk.path)
    assert resumed.restore() == 2 and np.all(kernel.numpy() == 2.0)


def test_room_for_the_next_save_is_asked_for_before_it_is_needed(small_disk):
    _, checkpoint = _run(small_disk.path)
    checkpoint.require_room()
    small_disk.fill(leave=1_200_000)
    with pytest.raises(
        UserError, match=r"has 1\.2 MB free, but the next checkpoint needs up to 1\.6 MB; make room"
    ):
        checkpoint.require_room()
    assert not (small_disk.path / FOLDER).exists()


def test_what_a_checkpoint_takes_is_known_from_the_last_one(small_disk):
    _, checkpoint = _run(small_disk.path)
    checkpoint.save(1)
    (small_disk.path / FOLDER / "ckpt-1.data-00000-of-00001").write_bytes(bytes(1_000_000))
    small_disk.fill(leave=1_900_000)
    with pytest.raises(UserError, match=r"has 1\.9 MB free, but the next checkpoint needs up to 2\.0 MB"):
        checkpoint.require_room()


def test_a_log_that_cannot_be_written_says_so(small_disk):
    log = MetricLog(small_disk.path)
    log.write(0, loss=1.5)
    small_disk.fill()
    with pytest.raises(UserError, match=f"Cannot write '.*{METRICS_FILE}': {_FULL}"):
        log.write(1, text="x" * 10000)
    assert read_metrics(small_disk.path) == [{"epoch": 0, "loss": 1.5}]
    small_disk.empty()
    MetricLog(small_disk.path, resume_epoch=1).write(1, loss=0.5)
    assert [line["loss"] for line in read_metrics(small_disk.path)] == [1.5, 0.5]


def test_a_model_that_does_not_fit_leaves_no_half_of_it(small_disk):
    import tf_keras as keras

    from nas_tf.network.model_folder import WEIGHTS_FILE, ModelDescription, save_model
    from nas_tf.space.architecture import from_string

    model = keras.Sequential([keras.layers.Dense(400, input_shape=(400,))])  # 0.6 MB
    architecture = from_string("s8x2 1_3c8 3_3c16x2 h24")
    description = ModelDescription("float", architecture, 8, 10, tuple("0123456789"), 8)
    small_disk.fill(leave=100_000)
    with pytest.raises(UserError, match=f"Cannot write '.*{WEIGHTS_FILE}'"):
        save_model(small_disk.path / "model", model, description)
    assert list((small_disk.path / "model").iterdir()) == []


def test_a_folder_without_permission_is_named(tmp_path):
    """For one who is not root, to whom nothing is forbidden."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o755)
    # A process of its own for each test file puts one folder more above it.
    for above in (tmp_path, *tmp_path.parents[:3]):
        os.chmod(above, 0o755)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            else:
                os.chmod(folder, 0o500)
            files.write_json(folder / "a.json", {})
            said = "written"
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write_end, said.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write_end)
    with os.fdopen(read_end) as stream:
        said = stream.read()
    assert said == f"UserError: Cannot write to the folder '{folder}': Permission denied."


def test_without_a_folder_for_temporary_files_what_is_held_back_is_dropped(monkeypatch, capfd):
    def nowhere(*_, **__):
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(quiet.tempfile, "TemporaryFile", nowhere)
    with quiet.quiet():
        os.write(2, b"chatter")
    os.write(2, b"said")
    assert capfd.readouterr().err == "said"

"""What is damaged of the saved states is noticed, said and gone behind; nothing starts over silently."""

import json

import pytest
import tensorflow as tf

from nas_tf.base.checkpoints import FOLDER, RunCheckpoint
from nas_tf.base.errors import UserError

DATA, INDEX, DIGESTS, LIST = "ckpt-9.data-00000-of-00001", "ckpt-9.index", "ckpt-9.json", "checkpoint"


def _checkpoint(folder):
    kernel = tf.Variable(tf.zeros([50]))
    return RunCheckpoint(folder / "train", kernel=kernel), kernel


def _saved(folder, steps=(4, 6, 9), digests=True):
    """Checkpoints whose kernel is their step; without digests, as earlier versions wrote them."""
    checkpoint, kernel = _checkpoint(folder)
    for step in steps:
        kernel.assign(tf.fill([50], float(step)))
        checkpoint.save(step)
    if not digests:
        for path in (folder / "train" / FOLDER).glob("*.json"):
            path.unlink()
    return folder / "train" / FOLDER


def _restored(folder):
    """(step, the kernel's value)."""
    checkpoint, kernel = _checkpoint(folder)
    return checkpoint.restore(), float(kernel[0])


def _cut(path):
    path.write_bytes(path.read_bytes()[:30])


def _empty(path):
    path.write_bytes(b"")


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _garble(path):
    path.write_bytes(b"\xff\x00\x93" * 40)


def _remove(path):
    path.unlink()


DAMAGES = (_cut, _empty, _flip, _garble, _remove)


@pytest.mark.parametrize("digests", [True, False])
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [DATA, INDEX])
def test_the_one_before_a_damaged_one_is_gone_back_to(tmp_path, capsys, name, damage, digests):
    folder = _saved(tmp_path, digests=digests)
    damage(folder / name)
    assert _restored(tmp_path) == (6, 6.0)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said
    named = name if digests else "ckpt-9"
    assert f"train: CHECKPOINT DAMAGED: {named}" in said
    assert "going back from step 9 to step 6, so 3 steps are done again" in said
    # Nothing was thrown away, and it is not met again.
    assert {path.name for path in (folder / "damaged").iterdir()} <= {DATA, INDEX, DIGESTS}
    assert _restored(tmp_path) == (6, 6.0) and capsys.readouterr().err == ""


def test_steps_done_again_take_the_place_of_damaged_ones(tmp_path):
    folder = _saved(tmp_path)
    _flip(folder / DATA)
    checkpoint, kernel = _checkpoint(tmp_path)
    checkpoint.restore()
    kernel.assign(tf.fill([50], 7.0))
    checkpoint.save(7)
    assert _restored(tmp_path) == (7, 7.0)
    assert {path.stem for path in folder.glob("*.index")} == {"ckpt-4", "ckpt-6", "ckpt-7"}


def test_two_damaged_ones_are_both_named(tmp_path, capsys):
    folder = _saved(tmp_path)
    _cut(folder / DATA)
    _remove(folder / "ckpt-6.index")
    assert _restored(tmp_path) == (4, 4.0)
    said = capsys.readouterr().err
    assert f"{DATA} is not what was written; ckpt-6.index is missing" in said
    assert "from step 9 to step 4, so 5 steps are done again" in said


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [DIGESTS, LIST])
def test_a_state_is_used_whose_list_or_digests_are_damaged(tmp_path, capsys, name, damage):
    damage(_saved(tmp_path) / name)
    assert _restored(tmp_path) == (9, 9.0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("digests", [True, False])
@pytest.mark.parametrize("damage", DAMAGES)
def test_without_a_usable_state_the_run_stops_and_leaves_all_as_it_is(tmp_path, damage, digests):
    folder = _saved(tmp_path, steps=(9,), digests=digests)
    damage(folder / DATA)
    left = {path.name: path.read_bytes() for path in folder.iterdir()}
    for _ in range(2):
        with pytest.raises(UserError, match=r"None of the checkpoints in '.*train/checkpoint' can be used"):
            _restored(tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == left


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'model_checkpoint_path: "ckpt-9"\n'])
def test_a_list_without_checkpoints_is_no_fresh_start(tmp_path, content):
    folder = tmp_path / "train" / FOLDER
    folder.mkdir(parents=True)
    (folder / LIST).write_bytes(content)
    lost = "ckpt-9.index is missing" if b"ckpt-9" in content else "not even their list"
    with pytest.raises(UserError, match=rf"None of the checkpoints .* \({lost}\)"):
        _restored(tmp_path)


def test_a_first_save_that_was_cut_short_is_a_fresh_start(tmp_path):
    folder = tmp_path / "train" / FOLDER
    (folder / "ckpt-9_temp").mkdir(parents=True)
    (folder / DATA).write_bytes(b"no index yet")
    assert _restored(tmp_path) == (0, 0.0)


def test_earlier_versions_read_what_is_written_now(tmp_path):
    folder = _saved(tmp_path)
    kernel = tf.Variable(tf.zeros([50]))
    older = tf.train.Checkpoint(
        run_step=tf.Variable(0, dtype=tf.int64), seconds=tf.Variable(0.0, dtype=tf.float64), kernel=kernel
    )
    manager = tf.train.CheckpointManager(older, str(folder), max_to_keep=3)
    assert [path.rsplit("-", 1)[1] for path in manager.checkpoints] == ["4", "6", "9"]
    older.restore(manager.latest_checkpoint).assert_existing_objects_matched()
    assert float(kernel[0]) == 9.0


def test_digests_are_those_of_the_files(tmp_path):
    import hashlib

    folder = _saved(tmp_path)
    for step in (4, 6, 9):
        held = json.loads((folder / f"ckpt-{step}.json").read_text())["files"]
        assert set(held) == {f"ckpt-{step}.index", f"ckpt-{step}.data-00000-of-00001"}
        for name, digest in held.items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_what_earlier_versions_did_not_hold_stays_as_it_is(tmp_path):
    kernel, losses = tf.Variable([3.0]), tf.Variable([7.0])
    RunCheckpoint(tmp_path, kernel=kernel).save(2)
    kernel.assign([0.0])
    resumed = RunCheckpoint(tmp_path, newer=("losses",), kernel=kernel, losses=losses)
    assert resumed.restore() == 2
    assert (float(kernel[0]), float(losses[0])) == (3.0, 7.0)
    with pytest.raises(UserError, match="does not fit this run"):
        RunCheckpoint(tmp_path, kernel=kernel, losses=losses).restore()

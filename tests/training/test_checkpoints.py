"""Checkpoints: everything comes back, and nothing else is accepted."""

import pytest
import tensorflow as tf
from tensorflow.python.checkpoint import checkpoint_management

from nas_tf.errors import UserError
from nas_tf.training import optimizers
from nas_tf.training.checkpoints import FOLDER, RunCheckpoint


class Run:
    """A kernel with its optimizer and a random stream."""

    def __init__(self, folder, size=2):
        self.kernel = tf.Variable(tf.ones([size, 1]))
        self.optimizer = optimizers.sgd(0.1)
        self.optimizer.build([self.kernel])
        self.random = tf.random.Generator.from_seed(1)
        self.checkpoint = RunCheckpoint(folder, kernel=self.kernel, optimizer=self.optimizer,
                                        random=self.random)

    def step(self):
        gradient = self.random.normal(self.kernel.shape)
        self.optimizer.apply_gradients([(gradient, self.kernel)])


def test_a_resumed_run_goes_on_as_if_nothing_had_happened(tmp_path):
    first = Run(tmp_path)
    assert first.checkpoint.restore() == 0
    first.step()
    first.checkpoint.save(1)
    first.step()
    second = Run(tmp_path)
    assert second.checkpoint.restore() == 1
    second.step()
    assert (second.kernel.numpy() == first.kernel.numpy()).all()


def test_only_the_latest_is_kept(tmp_path):
    run = Run(tmp_path)
    for step in (1, 2, 2, 7):
        run.checkpoint.save(step)
    assert len(list((tmp_path / FOLDER).glob("*.index"))) == 1
    assert Run(tmp_path).checkpoint.restore() == 7


def test_a_save_that_fails_leaves_the_one_before(tmp_path, monkeypatch):
    run = Run(tmp_path)
    run.step()
    run.checkpoint.save(1)
    kept = run.kernel.numpy()
    run.step()

    def killed(*_, **__):
        raise KeyboardInterrupt

    # The state file is what makes a save the latest one.
    monkeypatch.setattr(checkpoint_management, "update_checkpoint_state_internal", killed)
    with pytest.raises(KeyboardInterrupt):
        run.checkpoint.save(2)
    monkeypatch.undo()
    resumed = Run(tmp_path)
    assert resumed.checkpoint.restore() == 1
    assert (resumed.kernel.numpy() == kept).all()


def test_another_shape_is_refused(tmp_path):
    Run(tmp_path).checkpoint.save(3)
    with pytest.raises(UserError, match="does not fit this run or is damaged; use another "
                       "--workdir, or remove"):
        Run(tmp_path, size=5).checkpoint.restore()


def test_a_missing_variable_is_refused(tmp_path):
    RunCheckpoint(tmp_path, kernel=tf.Variable(tf.ones([2, 1]))).save(1)
    with pytest.raises(UserError, match="does not fit this run"):
        Run(tmp_path).checkpoint.restore()


def test_a_damaged_file_is_refused(tmp_path):
    Run(tmp_path).checkpoint.save(3)
    index, = (tmp_path / FOLDER).glob("*.index")
    index.write_bytes(index.read_bytes()[:30])
    with pytest.raises(UserError, match="damaged"):
        Run(tmp_path).checkpoint.restore()

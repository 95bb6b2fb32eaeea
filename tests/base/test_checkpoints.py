"""Checkpoints: everything comes back, and nothing else is accepted."""

import pytest
import tensorflow as tf

from nas_tf.base import files
from nas_tf.base.checkpoint_files import CheckpointFiles
from nas_tf.base.checkpoints import FOLDER, RunCheckpoint
from nas_tf.base.clock import Clock
from nas_tf.base.errors import UserError
from nas_tf.train import optimizers


class Run:
    """A kernel with its optimizer and a random stream."""

    def __init__(self, folder, size=2):
        self.kernel = tf.Variable(tf.ones([size, 1]))
        self.optimizer = optimizers.NesterovSgd({"kernel": self.kernel})
        self.random = tf.random.Generator.from_seed(1)
        self.checkpoint = RunCheckpoint(
            folder, kernel=self.kernel, optimizer=self.optimizer, random=self.random
        )

    def step(self):
        gradient = self.random.normal(self.kernel.shape)
        self.optimizer.update("kernel", self.kernel, gradient, tf.constant(0.1))


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


def _kept(folder) -> set[str]:
    return {path.stem for path in (folder / FOLDER).glob("*.index")}


def test_the_last_three_are_kept_and_the_latest_is_restored(tmp_path):
    run = Run(tmp_path)
    for step in (1, 2, 2, 7, 9):
        run.checkpoint.save(step)
    assert _kept(tmp_path) == {"ckpt-2", "ckpt-7", "ckpt-9"}
    resumed = Run(tmp_path)
    assert resumed.checkpoint.restore() == 9
    resumed.checkpoint.save(12)  # a resumed run knows the older ones too
    assert _kept(tmp_path) == {"ckpt-7", "ckpt-9", "ckpt-12"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("what", ["kernel", "optimizer"])
def test_what_is_not_finite_is_not_saved(tmp_path, value, what):
    run = Run(tmp_path)
    run.step()
    run.checkpoint.save(1)
    variable = run.kernel if what == "kernel" else run.optimizer.slots["kernel"]
    variable.assign(tf.fill(variable.shape, value))
    with pytest.raises(
        UserError,
        match=rf"The run's state is no longer finite \({what}: .*\), so it "
        "cannot go on; use a smaller learning rate. Nothing of it was saved",
    ):
        run.checkpoint.save(2)
    assert _kept(tmp_path) == {"ckpt-1"} and Run(tmp_path).checkpoint.restore() == 1


def _saved_and_killed(folder, monkeypatch, target, name):
    """Two steps, of which the second's save is killed where `target.name` is called."""
    run = Run(folder)
    run.step()
    run.checkpoint.save(1)
    kernels = {1: run.kernel.numpy()}
    run.step()
    kernels[2] = run.kernel.numpy()

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(target, name, killed)
    with pytest.raises(KeyboardInterrupt):
        run.checkpoint.save(2)
    monkeypatch.undo()
    return kernels


@pytest.mark.parametrize(
    "target, name, step",
    [
        (tf.train.Checkpoint, "write", 1),
        # From here on TensorFlow has written the index, which comes last and makes it whole.
        (CheckpointFiles, "seal", 2),
        (files, "sync", 2),
        (files, "write_json", 2),
        (files, "write_text", 2),
    ],
)
def test_a_save_that_is_killed_leaves_a_whole_one(tmp_path, monkeypatch, target, name, step, capsys):
    kernels = _saved_and_killed(tmp_path, monkeypatch, target, name)
    resumed = Run(tmp_path)
    assert resumed.checkpoint.restore() == step
    assert (resumed.kernel.numpy() == kernels[step]).all()
    assert capsys.readouterr().err == ""


def test_litter_of_killed_saves_goes_with_the_next_one(tmp_path):
    run = Run(tmp_path)
    run.checkpoint.save(1)
    folder = tmp_path / FOLDER
    (folder / "ckpt-9_temp").mkdir()
    (folder / "ckpt-9_temp" / "part-0").write_text("half")
    (folder / "ckpt-7.data-00000-of-00001").write_text("no index")
    again = Run(tmp_path)
    assert again.checkpoint.restore() == 1
    again.checkpoint.save(2)
    assert {path.name.split(".")[0] for path in folder.iterdir()} == {"checkpoint", "ckpt-1", "ckpt-2"}


def test_as_many_are_kept_as_asked(tmp_path):
    checkpoint = RunCheckpoint(tmp_path, keep=1, kernel=tf.Variable([0.0]))
    for step in (8, 9, 10):
        checkpoint.save(step)
    assert _kept(tmp_path) == {"ckpt-10"}


def test_another_shape_is_refused(tmp_path):
    Run(tmp_path).checkpoint.save(3)
    with pytest.raises(
        UserError, match="does not fit this run or is damaged; use another --workdir, or remove"
    ):
        Run(tmp_path, size=5).checkpoint.restore()


def test_a_missing_variable_is_refused(tmp_path):
    RunCheckpoint(tmp_path, kernel=tf.Variable(tf.ones([2, 1]))).save(1)
    with pytest.raises(UserError, match="does not fit this run"):
        Run(tmp_path).checkpoint.restore()


def test_a_damaged_file_is_refused(tmp_path):
    Run(tmp_path).checkpoint.save(3)
    (index,) = (tmp_path / FOLDER).glob("*.index")
    index.write_bytes(index.read_bytes()[:30])
    with pytest.raises(UserError, match="since all are damaged .ckpt-3.index is not what was written"):
        Run(tmp_path).checkpoint.restore()


def _steps_of(folder, seconds, fake_time, **trackables):
    clock = Clock()
    checkpoint = RunCheckpoint(folder, "", clock, **trackables)
    step = checkpoint.restore()
    fake_time.seconds += seconds
    return step, clock, checkpoint


def test_working_time_is_kept_with_the_state(tmp_path, fake_time):
    kernel = tf.Variable(tf.ones([2, 1]))
    step, clock, checkpoint = _steps_of(tmp_path, 40, fake_time, kernel=kernel)
    assert (step, clock.seconds()) == (0, 40)
    checkpoint.save(1)
    fake_time.seconds += 900  # lost: nothing was saved after it
    step, clock, checkpoint = _steps_of(tmp_path, 7, fake_time, kernel=kernel)
    assert (step, clock.seconds()) == (1, 47)
    checkpoint.save(2)
    assert _steps_of(tmp_path, 1, fake_time, kernel=kernel)[1].seconds() == 48


@pytest.mark.parametrize("timed", [True, False])
def test_checkpoints_of_earlier_versions_are_read(tmp_path, fake_time, timed):
    """Training and search held their seconds under this name; fine-tuning held none."""
    held = {"kernel": tf.Variable([3.0]), "run_step": tf.Variable(5, dtype=tf.int64)}
    if timed:
        held["seconds"] = tf.Variable(60.0, dtype=tf.float64)
    older = tf.train.CheckpointManager(tf.train.Checkpoint(**held), str(tmp_path / FOLDER), max_to_keep=3)
    older.save(checkpoint_number=5)
    kernel = tf.Variable([0.0])
    step, clock, checkpoint = _steps_of(tmp_path, 7, fake_time, kernel=kernel)
    assert (step, float(kernel[0]), clock.seconds()) == (5, 3.0, 67 if timed else 7)
    checkpoint.save(6)
    assert _steps_of(tmp_path, 1, fake_time, kernel=kernel)[1].seconds() == (68 if timed else 8)


def test_a_save_is_due_when_the_last_one_is_long_ago(tmp_path, monkeypatch, fake_time):
    monkeypatch.setattr("nas_tf.base.checkpoints.time", fake_time)
    checkpoint = RunCheckpoint(tmp_path, kernel=tf.Variable([0.0]))
    fake_time.seconds += 50  # building the rest of the run
    checkpoint.restore()
    fake_time.seconds += 9
    assert checkpoint.due(9) and not checkpoint.due(10)
    checkpoint.save(1)
    assert not checkpoint.due(9) and checkpoint.due(0)

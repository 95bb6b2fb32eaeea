"""Who does what in a pipeline of several processes, by threads and stages that only note their turn."""

import itertools
import time

import pytest
from absl import flags
from absl.testing import flagsaver

import quant.finetune_run
from export import pipeline_run
from flags.pipeline import pipeline_config
from nas_tf.base.errors import UserError
from nas_tf.base.run_folder import BENCHMARK, CONVERT, EVALUATE, FINETUNE, SEARCH, TABLE, TRAIN, RunFolder
from nas_tf.distribute.shared_run import end_stage
from nas_tf.latency import build_run
from nas_tf.search import run as search_run
from nas_tf.train import run as train_run
from tests.distribute.test_by_chief import in_processes

SHARED = {
    SEARCH: (search_run, "run_search"),
    TRAIN: (train_run, "run_train"),
    FINETUNE: (quant.finetune_run, "run_finetune"),
    EVALUATE: (pipeline_run, "run_evaluate"),
}
ALONE = {
    TABLE: (build_run, "run_build_table"),
    CONVERT: (pipeline_run, "run_convert"),
    BENCHMARK: (pipeline_run, "run_benchmark"),
}
ORDER = (TABLE, SEARCH, TRAIN, FINETUNE, CONVERT, EVALUATE, BENCHMARK)


@pytest.fixture
def turns(monkeypatch) -> list:
    """(stage, rank, begins) in the order in which they happened; rank None: by the one that is alone."""
    noted: list = []

    def shared(stage):
        def run(workdir, config, workers):
            noted.append((stage, workers.rank, True))
            noted.append((stage, workers.rank, False))
            summary = {"top1": 0.5, "seconds": 1.0}
            # As the stages themselves end.
            end_stage(RunFolder(workdir).stage(stage), summary, workers)
            return summary if workers.rank == 0 else {}

        return run

    def alone(stage):
        def run(workdir, config):
            noted.append((stage, None, True))
            time.sleep(0.1)  # others would overtake it
            noted.append((stage, None, False))
            return {"output": "file", "seconds": 1.0}

        return run

    for stage, (module, name) in SHARED.items():
        monkeypatch.setattr(module, name, shared(stage))
    for stage, (module, name) in ALONE.items():
        monkeypatch.setattr(module, name, alone(stage))
    monkeypatch.setattr(pipeline_run, "check_stages", lambda workdir, config, workers: 10)
    monkeypatch.setattr(pipeline_run, "_with_table", lambda config, table: config.search)
    monkeypatch.setattr(pipeline_run, "_forget_graphs", lambda: None)
    monkeypatch.setattr(pipeline_run, "_report", lambda workdir: noted.append(("report", None, True)))
    return noted


def config(*arguments):
    """Settings by flags; a thread at a time, for flags are the process's."""
    with flagsaver.flagsaver():
        flags.FLAGS(["pipeline", "--dataset=digits", "--target_latency_share=0.5", *arguments])
        return pipeline_config()


def test_four_stages_are_shared_and_the_others_are_the_chiefs(tmp_path, turns, capsys):
    given = config("--shards=3")
    found = in_processes(3, lambda workers, _: pipeline_run.run_pipeline(str(tmp_path), given, workers))
    assert found[1:] == [{}, {}]
    assert {name: found[0][name]["seconds"] for name in ORDER} == dict.fromkeys(ORDER, 1.0)
    # Each stage is over for all before the next one begins for any.
    assert [stage for stage, _ in itertools.groupby(name for name, *_ in turns)] == [*ORDER, "report"]
    for stage in ORDER:
        ranks = [0, 1, 2] if stage in SHARED else [None]
        assert sorted(rank for name, rank, begins in turns if name == stage and begins) == ranks, stage
    assert [name for name, *_ in turns].count("report") == 1
    # Only one of them speaks.
    assert capsys.readouterr().err.count(f"[7/7] {BENCHMARK}") == 1


def test_other_settings_of_a_later_stage_are_refused_before_the_first(tmp_path, turns):
    given = [config(), config("--finetune_learning_rate=0.25")]
    found = in_processes(
        2, lambda workers, _: pipeline_run.run_pipeline(str(tmp_path), given[workers.rank], workers)
    )
    assert len({str(error) for error in found}) == 1 and isinstance(found[0], UserError)
    assert "has another setting than the chief (learning_rate: 0.25 there, " in str(found[0])
    assert turns == []


def test_where_a_table_lies_and_how_often_to_save_may_differ(tmp_path, turns, monkeypatch):
    monkeypatch.setattr(pipeline_run, "_check_search", lambda config: None)
    monkeypatch.setattr(pipeline_run, "_with_kernels", lambda workdir, config: config)
    given = [
        config("--latency_table=a.json"),
        config("--latency_table=/b/a.json", "--checkpoint_minutes=3", "--keep_checkpoints=9"),
    ]
    found = in_processes(
        2, lambda workers, _: pipeline_run.run_pipeline(str(tmp_path), given[workers.rank], workers)
    )
    assert set(found[0]) >= {SEARCH, BENCHMARK} and found[1] == {}
    assert TABLE not in {name for name, *_ in turns}


def test_a_stage_of_the_chief_that_fails_ends_all(tmp_path, turns, monkeypatch):
    def run_convert(workdir, config):
        raise UserError("No such network can be converted.")

    monkeypatch.setattr(pipeline_run, "run_convert", run_convert)
    given = config()
    found = in_processes(2, lambda workers, _: pipeline_run.run_pipeline(str(tmp_path), given, workers))
    assert [str(error) for error in found] == ["No such network can be converted."] * 2
    assert EVALUATE not in {name for name, *_ in turns}
    assert not (tmp_path / "pipeline" / "summary.json").exists()

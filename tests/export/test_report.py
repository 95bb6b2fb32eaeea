"""The report shows what a run's files say, complete or not."""

import json
import re
from html.parser import HTMLParser

import pytest

from export.report_run import write_report
from nas_tf.base.errors import UserError
from nas_tf.space.search_space import TINY

VOID = {"meta", "br", "img", "path", "use", "rect", "stop"}


class Balance(HTMLParser):
    """Fails on tags that do not nest, and collects what the page refers to."""

    def __init__(self):
        super().__init__()
        self.open, self.references, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.references += [v for k, v in attrs if k in ("src", "href") and v]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(path):
    """The parsed page, checked for balance and for being self-contained."""
    with open(path, encoding="utf-8") as file:
        content = file.read()
    page = Balance()
    page.feed(content)
    assert page.open == []
    assert all(reference.startswith("#") for reference in page.references), page.references
    return page, content


@pytest.fixture(name="run")
def run_folder(tmp_path):
    """A run folder as the stages leave it, with figures that a test can recognise."""
    choices = TINY.choices(32)
    operations = tuple(choice.operations[0] for choice in choices)
    stages = {
        "search": {"predicted_latency_ms": 0.75, "target_latency_ms": 0.8, "seconds": 61.0},
        "train": {"top1": 0.97, "seconds": 20.0},
        "convert": {"output": "m.tflite", "bytes": 20480, "seconds": 1.0},
        "evaluate": {
            kind: {
                "top1": top1,
                "top5": 1.0,
                "num_examples": 360,
                "background_predictions": 0 if kind == "int8" else None,
            }
            for kind, top1 in (("float", 0.975), ("qat", 0.9725), ("int8", 0.97))
        },
        "benchmark": {"median_ms": 0.6, "p90_ms": 0.7, "device": "<b>test & device</b>"},
    }
    for stage, summary in stages.items():
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "summary.json").write_text(json.dumps(summary))
    settings = {"space": "tiny", "resolution": 32, "num_classes": 10}
    (tmp_path / "search/settings.json").write_text(json.dumps(settings))
    (tmp_path / "search/architecture.json").write_text(json.dumps(TINY.architecture(operations).to_json()))
    rows = [
        {
            "epoch": e,
            "loss": 2.0 - e,
            "alpha_loss": 2.1 - e,
            "entropy": 1.9,
            "expected_latency_ms": 0.9,
            "top1": 0.5,
            "probabilities": [[1 / len(c.specs)] * len(c.specs) for c in choices],
        }
        for e in range(2)
    ]
    (tmp_path / "search/metrics.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows) + '{"epoch": 2, "lo'
    )
    return tmp_path


def test_figures_of_the_run_are_shown(run):
    page, content = read(write_report(str(run)))
    assert "97.00%" in page.text and "-0.50 points" in page.text
    assert "0.75 ms" in page.text and "budget 0.8 ms" in page.text
    # The prediction against the measurement: 0.75 / 0.6 − 1.
    assert "+25.0 % off" in page.text
    assert "MB3 3×3" in content and "block 5" in content
    assert content.count("<svg") == 1 + 2  # the drawing, the curves, the probabilities


def test_every_figure_names_its_kernels_and_the_table_its_traps(run):
    key = TINY.architecture(tuple(c.operations[0] for c in TINY.choices(32))).latency_keys(32, 10)[2]
    group = {"sentence": "9 of 31 candidates, all with a 7×7 depthwise, are slow", "times": {key: 30.0}}

    def change(stage, **values):
        path = run / stage / "summary.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    evaluated = json.loads((run / "evaluate/summary.json").read_text())
    assert "kernels" not in read(write_report(str(run)))[0].text  # written by an earlier version
    change("search", kernels="xnnpack", slow_entries=[group])
    change("benchmark", kernels="xnnpack")
    change(
        "evaluate",
        int8=evaluated["int8"] | {"kernels": "builtin"},
        float=evaluated["float"] | {"kernels": ""},
    )
    text = read(write_report(str(run)))[0].text
    assert "int8 .tflite file, builtin kernels" in text and "float network, " not in text
    assert "measured, median, xnnpack kernels" in text and "predicted from the table, xnnpack kernels" in text
    assert "9 of 31 candidates, all with a 7×7 depthwise, are slow. This network has 1 of them." in text
    assert "+25.0 % off" in text
    change("benchmark", kernels="builtin")
    text = read(write_report(str(run)))[0].text
    assert "The table is of xnnpack kernels and not of builtin: no prediction of this time." in text
    assert "% off" not in text


def test_medians_of_a_phone_are_not_called_percentiles(run):
    """Summaries of older runs have a p90_ms for phones too."""
    assert "90th percentile" in read(write_report(str(run)))[0].text
    path = run / "benchmark" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"backend": "adb"}))
    assert "90th percentile" not in read(write_report(str(run)))[0].text


def test_text_from_files_is_escaped(run):
    _, content = read(write_report(str(run)))
    assert "<b>test" not in content and "&lt;b&gt;test &amp; device" in content


def test_ids_of_figures_do_not_clash(run):
    _, content = read(write_report(str(run)))
    ids = re.findall(r'id="([^"]+)"', content)
    assert len(ids) == len(set(ids))


def test_missing_stages_are_left_out(run):
    for stage in ("evaluate", "benchmark", "convert"):
        (run / stage / "summary.json").unlink()
    page, _ = read(write_report(str(run)))
    assert "Accuracy" not in page.text and "Search" in page.text
    assert "it goes on" in page.text


def test_the_same_run_gives_the_same_report(run):
    with open(write_report(str(run)), encoding="utf-8") as file:
        first = file.read()
    with open(write_report(str(run)), encoding="utf-8") as file:
        assert file.read() == first


def test_a_folder_without_stages_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no stage that has ended"):
        write_report(str(tmp_path))
    with pytest.raises(UserError, match="is not a folder"):
        write_report(str(tmp_path / "none"))
    assert not (tmp_path / "report.html").exists()


def test_doubts_of_stages_are_shown_with_what_to_change(run):
    assert "What to doubt" not in read(write_report(str(run)))[0].text
    for stage, doubts in (
        ("search", {"not_converged": "in 3 of 4 blocks <x>; use y", "unused_budget": "half of it; use z"}),
        ("train", {"warning": "top-1 is not above guessing; train longer"}),
    ):
        path = run / stage / "summary.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | doubts))
    text = read(write_report(str(run)))[0].text
    assert "What to doubt" in text
    for said in (
        "In 3 of 4 blocks <x>; use y.",
        "Half of it; use z.",
        "Top-1 is not above guessing; train longer.",
    ):
        assert said in text

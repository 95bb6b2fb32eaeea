"""Pieces of the report: tables, tiles, curves and the drawing of a network."""

import json
import re

import pytest

from export import report_drawing, report_facts, report_figures, report_page
from nas_tf.base.errors import UserError
from nas_tf.space.architecture import from_string

NETWORK = from_string("s8x2 1_3c8 3_7c16x2 3_5c16 h24")


def test_everything_is_escaped():
    evil = '<script>"&'
    good = "&lt;script&gt;&quot;&amp;"
    for made in (
        report_page.page(evil, evil, ""),
        report_page.section(evil, "body", evil),
        report_page.tile(evil, evil),
        report_page.table((evil,), [(evil,)]),
        report_page.commands([evil]),
    ):
        assert evil not in made and good in made


def test_what_is_empty_leaves_nothing():
    assert (
        report_page.section("title", "") == report_page.table(("a",), []) == report_page.paragraph("") == ""
    )


def test_numbers_stand_to_the_right_and_sources_are_tags():
    row = report_page.table(("what", "ms", "source"), [("budget", "0.8 ms", "measured here")])
    assert '<td>budget</td><td class="n">0.8 ms</td><td><span class="tag">measured here' in row
    assert report_page.table(("x",), [("−1.2",)]).count('class="n"') == 1
    with pytest.raises(ValueError, match="zip"):
        report_page.table(("one", "two"), [("only",)])


@pytest.mark.parametrize("verdict, kind", [(True, "tile good"), (False, "tile bad"), (None, "tile")])
def test_verdicts_colour_a_tile(verdict, kind):
    assert f'class="{kind}"' in report_page.tile("1", "x", verdict)


def test_a_series_leaves_out_epochs_without_a_number():
    rows = [{"epoch": 0, "loss": 2}, {"epoch": 1}, {"epoch": 2, "loss": None}, {"epoch": 3, "loss": 0.5}]
    assert report_figures.series(rows, "loss") == ([0, 3], [2, 0.5])


def test_curves_without_numbers_are_no_figure():
    assert report_figures.curves([{"epoch": 0}], [("loss", [("loss", "train")])]) == ""
    assert report_figures.probabilities([{"epoch": 0}], [["3_3", "Z"]]) == ""


def test_a_panel_for_each_title_and_the_target_in_its_own():
    rows = [{"epoch": e, "loss": 2.0 - e, "ms": 1.0 + e} for e in range(3)]
    panels = [("loss", [("loss", "train")]), ("time", [("ms", "expected")]), ("none", [("absent", "x")])]
    figure = report_figures.curves(rows, panels, ("time", 1.5))
    assert figure.startswith("<svg") and len(re.findall(r'id="f[0-9a-f]{8}axes_\d+"', figure)) == 2
    assert figure != report_figures.curves(rows, panels)


def test_the_drawing_has_a_column_per_layer_and_an_arc_per_shortcut():
    drawing = report_drawing.draw(NETWORK, 32, 10)
    layers = NETWORK.layers(32, 10)
    assert drawing.count("<rect") == len(layers)
    # Of the three blocks the first keeps width and stride, the last too; the middle one has stride 2.
    assert drawing.count("identity shortcut") == 2
    assert drawing.count("↓2") == sum(layer.stride == 2 for layer in layers) == 2
    assert report_drawing.KERNEL_COLOURS[7] in drawing and report_drawing.KERNEL_COLOURS[5] in drawing
    assert drawing.count("<title>") == len(layers) + 2


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_facts_of_a_search_alone(tmp_path):
    _write(tmp_path / "search/summary.json", {"predicted_latency_ms": 0.5, "nested": {"deep": 3}})
    _write(tmp_path / "search/settings.json", {"resolution": 32, "num_classes": 10})
    facts = report_facts.gather(str(tmp_path))
    assert (facts.resolution, facts.num_classes) == (32, 10)
    assert facts.architecture is None and facts.weights_bytes is None
    assert facts.value("search", "nested", "deep") == 3
    assert facts.value("search", "nested", "absent") is None is facts.value("train", "top1")
    assert facts.value("search", "predicted_latency_ms", "deeper") is None


def test_folders_that_say_nothing_are_refused(tmp_path):
    with pytest.raises(UserError, match="--workdir=.* is not a folder"):
        report_facts.gather(str(tmp_path / "absent"))
    _write(tmp_path / "train/settings.json", {})
    with pytest.raises(UserError, match=r"no stage that has ended \(build_latency_table, search, train,"):
        report_facts.gather(str(tmp_path))


def test_a_damaged_summary_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/summary.json").write_text("{")
    with pytest.raises(UserError, match="stage summary"):
        report_facts.gather(str(tmp_path))

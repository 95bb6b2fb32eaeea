"""Finding TensorFlow while its start-up lines are held back."""

import sys

from nas_tf.base import startup


def test_a_folder_of_its_name_is_no_module_with_a_loader(monkeypatch, tmp_path):
    """Python finds a namespace there, which has nothing that could print."""
    (tmp_path / "tensorflow").mkdir()
    finder = startup._QuietStart()
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    found = sys.meta_path[0].find_spec("tensorflow", None)
    assert found is not None and found.loader is None
    assert list(found.submodule_search_locations) == [str(tmp_path / "tensorflow")]
    assert finder not in sys.meta_path

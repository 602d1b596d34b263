# Two commands for a fresh machine: `make demo` and `make test`. Python 3.11+, pip and make are all they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STAMP_DEV := $(VENV)/.installed-dev
# More threads than cores makes everything several times slower.
export OMP_NUM_THREADS := 1

.PHONY: demo test check lint soak bench clean

demo: $(STAMP)
	$(BIN)/acoustic-ad demo demo

test: $(STAMP_DEV)
	$(BIN)/python -m pytest -n 2

check: lint test

lint: $(STAMP_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

soak: $(STAMP_DEV)
	ACOUSTIC_AD_SOAK=1 $(BIN)/python -m pytest -m soak --timeout 7200

bench: $(STAMP)
	env -u OMP_NUM_THREADS $(BIN)/python benchmarks/scoring.py

# Some systems ship Python without ensurepip; pip can then install itself into the environment from outside.
$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install pip; }

$(STAMP): $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --editable .
	touch $@

$(STAMP_DEV): $(STAMP)
	$(BIN)/python -m pip install --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

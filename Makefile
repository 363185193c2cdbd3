# Every target works on a fresh machine with Python 3.11 and git: the environment is made on the way, through constraints.txt.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# One thread a process: two test processes on two cores are then faster, and float sums do not depend on the thread count.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

.PHONY: help demo test test-fast lint types bench bench-peers docs clean
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(BIN)/python:
	@(command -v $(PYTHON) >/dev/null && $(PYTHON) -m venv $(VENV)) || python3 -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'

$(VENV)/.train: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing twinkle-workbench[train] into $(VENV) (about 2 GB, a minute or two) ..."
	@$(PIP) -e '.[train]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing twinkle-workbench[dev] into $(VENV) (about 2 GB, a minute or two) ..."
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.train

$(VENV)/.docs: $(VENV)/.dev
	@$(PIP) -e '.[docs]'
	@touch $@

# The older transformers that some patches are for, in a folder of its own beside the environment.
TRANSFORMERS_4 := $(VENV)/overlay/transformers-4.57.6
$(TRANSFORMERS_4): | $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ \
		transformers==4.57.6 huggingface-hub==0.36.2 tokenizers==0.22.2 kernels==0.9.0

demo: $(VENV)/.train  ## train a tiny model to say who it is (no network, under two minutes)
	@$(BIN)/twinkle demo

test: $(VENV)/.dev $(TRANSFORMERS_4)  ## everything: lint, types, all tests
	@$(MAKE) --no-print-directory lint types
	@$(ONE_THREAD) $(BIN)/pytest -n 2 --dist worksteal

test-fast: $(VENV)/.dev  ## the tests to run after each change (under two minutes)
	@$(ONE_THREAD) $(BIN)/pytest -n 2 --dist worksteal -m 'not slow' -q

lint: $(VENV)/.dev  ## ruff
	@$(BIN)/ruff check .

types: $(VENV)/.dev  ## mypy, strict on every room
	@$(BIN)/mypy

$(VENV)/.bench: $(VENV)/.dev
	@$(PIP) -e '.[bench]'
	@touch $@

# Peers have pins that clash with ours, so each has a folder that only its own side-car sees. Beside it stands what it imports and we lack.
PEER_trl := trl==1.16.0
PEER_twinkle-kit := twinkle-kit==0.5.1 pyzmq binpacking
$(VENV)/peers/%: | $(VENV)/.dev
	@$(PIP) --no-deps --target $@ $(PEER_$*)

bench-peers: $(VENV)/.bench $(VENV)/peers/trl $(VENV)/peers/twinkle-kit  ## the packages that benchmarks compare with, most into .venv/peers

bench: bench-peers  ## the quick tier of every benchmark, as ratios
	@$(BIN)/python -m benchmarks all

docs: $(VENV)/.docs  ## the documents as a web site in build/docs; a broken link is an error
	@$(BIN)/mkdocs build --strict --quiet

clean:  ## remove the environment and what tools left
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info .mypy_cache .pytest_cache .ruff_cache

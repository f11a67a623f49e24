PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

# Tests start Python often, and its packages take long to compile, so what it has compiled is kept,
# even where the environment says no.
export PYTHONDONTWRITEBYTECODE =

# A PYTHON that is asked for makes the environment anew if the one that is there has another Python.
version = $(shell $(1) -c 'import sys; print(*sys.version_info[:2])' 2>/dev/null)
ifneq ($(origin PYTHON),file)
ifneq ($(call version,$(PYTHON)),$(call version,$(RUN)))
ANEW := anew
endif
endif

.PHONY: quickstart test test-all docs bench torture mutants lint compiled anew

quickstart: $(VENV)/installed  ## train on the bundled garments, sample, upsample and measure: runs/fashion/
	$(RUN) -m dct_jax train fashion
	$(RUN) -m dct_jax sample runs/fashion --label all
	$(RUN) -m dct_jax upsample runs/fashion --held-out 6
	$(RUN) -m dct_jax evaluate runs/fashion --samples 500 --features alexnet

test: $(VENV)/installed  ## the linters and the tests, but for the slowest
	@# Python compiles packages when they are first imported, and Numba compiles the codec: once, and
	@# while mypy works.
	$(MAKE) --no-print-directory --jobs=2 lint compiled
	$(RUN) -m pytest -q -n 2 --dist worksteal -m "not slow"

test-all: lint  ## the linters and all tests
	$(RUN) -m pytest -q -n 2 --dist worksteal

docs: $(VENV)/installed  ## the documentation site, from docs/ and the docstrings: site/index.html
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

bench: $(VENV)/installed  ## times, beside this machine's limits, of all that needs no trained model: runs/bench/*.json
	mkdir -p runs/bench
	$(RUN) benchmarks/codec.py --repeats 9 --json runs/bench/codec.json
	$(RUN) benchmarks/data.py --repeats 3 --json runs/bench/data.json
	$(RUN) benchmarks/compile.py landscapes --json runs/bench/compile.json
	$(RUN) benchmarks/train_step.py --json runs/bench/train_step.json
	$(RUN) benchmarks/scaling.py --repeats 3 --json runs/bench/scaling.json
	$(RUN) benchmarks/sampling.py --repeats 1 --json runs/bench/sampling.json
	$(RUN) benchmarks/compress.py --json runs/bench/compression.json

torture: $(VENV)/installed  ## 20 minutes of kills, full disks, damaged files and crowds: runs/bench/torture.json
	mkdir -p runs/bench
	$(RUN) benchmarks/torture.py --json runs/bench/torture.json

mutants: $(VENV)/installed  ## puts faults into the code, and tells which of them no test notices; up to an hour
	$(RUN) tests/mutants.py

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

compiled: $(VENV)/installed
	$(RUN) -m pytest --quiet -n 1 -k test_any_image_makes_a_valid_list > /dev/null || true

$(VENV)/installed: requirements.txt requirements-dev.txt pyproject.toml $(ANEW)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dct_jax needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(if $(ANEW),--clear) $(VENV)
	@# Of the 2 GB of packages few files are ever imported; Python compiles those when they are.
	$(RUN) -m pip install -q --no-compile --disable-pip-version-check -r requirements.txt -r requirements-dev.txt -e .
	@touch $@

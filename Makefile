# Needs GNU make and CPython 3.11 to 3.14 with venv; everything else goes into .venv.
# The first candidate that works is taken: those on PATH, then the versions of pyenv. Each one is run, not only looked
# up, since a pyenv shim can exist and still not work. Free-threaded builds are left out: LevelDB has no wheels for them.
PYTHON ?= $(shell for python in python python3 python3.14 python3.13 python3.12 python3.11 \
	$(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.1[1-4]*/bin/python); do \
	$$python -c 'import sys, sysconfig, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15) \
	or sys.implementation.name != "cpython" or bool(sysconfig.get_config_var("Py_GIL_DISABLED")))' 2>/dev/null \
	&& echo $$python && break; done)

VENV := .venv
BIN := $(VENV)/bin
SEEDS ?= 1000
ARGS ?=
# one test process for each core, but at least two: many tests wait for another process
PARALLEL := -n $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 2 ] && echo $$n || echo 2) --dist worksteal

.PHONY: help test check lint format diagrams demo demo-picture chart bench bench-peers docs sim clean

help:
	@echo "make test          run lint, types, import layers and the quick tests (3 minutes)"
	@echo "make check         run lint, types, import layers and all tests, in parallel (12 minutes)"
	@echo "make lint          run ruff, mypy and import-linter only"
	@echo "make format        format the code with ruff"
	@echo "make demo          three nodes replicate real data; ARGS='--input DIR', for more see ARGS=--help"
	@echo "make bench         run the measurements of bench/; ARGS=... is passed on"
	@echo "make bench-peers   install PouchDB into build/bench-peers, for comparison"
	@echo "make sim SEEDS=N   run the simulator on N seeds; ARGS=... is passed on"
	@echo "make diagrams      draw docs/diagrams/*.txt as SVG"
	@echo "make demo-picture  run the demo and draw its output as docs/images/demo.svg"
	@echo "make chart         draw docs/images/speed.svg from bench/results"
	@echo "make docs          build the site in build/docs; fails on any warning"
	@echo "make clean         remove .venv and caches"

# ARGS replaces the choice of tests: make test ARGS="tests/unit/storage -x"
test: lint
	@$(BIN)/python -m pytest $(if $(ARGS),$(ARGS),-m "not slow" $(PARALLEL))

check: lint
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

diagrams: $(VENV)/dev.stamp
	$(BIN)/python docs/draw.py

demo: $(VENV)/demo.stamp
	@$(BIN)/level-replicator demo $(ARGS)

demo-picture: $(VENV)/demo.stamp
	$(BIN)/python docs/record_demo.py $(ARGS)

chart: $(VENV)/bench.stamp
	$(BIN)/python -m bench --chart

bench: $(VENV)/bench.stamp
	$(BIN)/python -m bench $(ARGS)

bench-peers:
	mkdir -p build/bench-peers
	npm install --no-audit --no-fund --prefix build/bench-peers pouchdb@9

docs: $(VENV)/dev.stamp
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "build/docs/index.html"

sim: $(VENV)/dev.stamp
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(ARGS)

$(VENV)/dev.stamp: pyproject.toml
	@$(call install,dev)
	@touch $(VENV)/demo.stamp $@

$(VENV)/bench.stamp: pyproject.toml
	@$(call install,bench)
	@touch $@

$(VENV)/demo.stamp: pyproject.toml
	@$(call install,demo)
	@touch $@

# $(call install,EXTRA)
define install
	test -n "$(PYTHON)" || { echo "no working CPython 3.11 to 3.14 with venv found: make PYTHON=/path/to/python" >&2; exit 1; }; \
	echo "making $(VENV) with $(PYTHON) ($(1))" >&2; \
	test -x $(BIN)/python && $(BIN)/python -c pass || $(PYTHON) -m venv --clear $(VENV); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(1)]'
endef

clean:
	rm -rf $(VENV) .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find src tests bench stubs -name __pycache__ -type d -exec rm -rf {} +

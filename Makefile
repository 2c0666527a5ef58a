# make demo   a web page on our own TCP, fetched by curl through a TUN device
# make test   the tests, one process on each core; those that need a TUN device are skipped where there is none to have
# make test-long   the same with all examples of the property tests, five times as many
# make test-integration   uvicorn, aiohttp, Redis and others, unmodified, over a TUN device
# make test-python PYTHON=python3.13   CPython's own tests, and the contract tests, in another interpreter
# make test-compiled   the core's tests, with the core compiled by mypyc (a few minutes to compile) in build/compiled
# make compiled   just that: a checkout to run tests and benches in
# make conformance   the tests, and writes docs/conformance.md from what they show
# make docs   docs/options.md and docs/counters.md, from the code, and all pages as a site: build/docs/index.html
# make soak   two stacks over a bad network, 100 MiB each way in each of 50 seeds (half an hour of CPU)
# make random-links   two stacks over a thousand networks drawn at random
# make mutations   one rule of each RFC taken away at a time: the tests must notice
# make lint   ruff and mypy --strict
# make bench  aiotcp against kernel sockets under the same programs, and against the limit of the device: docs/performance.md
# make bench-peers   PyTCP and mitmproxy_rs, from PyPI, for make bench to show beside
# make bench-cost  what a frame, a round trip and a connection cost, without kernel and device
# make bench-workers   requests and connections per second by the number of workers, where there are cores for them
# make bench-loss   goodput over 40 ms and 100 Mbit/s with loss and reordering, in virtual time, with targets
# make bench-live-loss   10 MB to and from the kernel with 1 % of packets dropped
# make bench-memory  bytes for each half-open entry, TIME-WAIT record and idle connection
# make bench-synflood  a million forged SYNs (200 s): growth of memory, and how long curl takes to connect
# make venv   just the environment: .venv, with aiotcp installed from this checkout
# make clean  remove what the above have made

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
SOAK_ARGS ?= --processes 2
LOSS_ARGS ?=
BENCH_ARGS ?=

BIN := $(VENV)/bin
RUN := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
DOCS := $(VENV)/.installed-docs
INTEGRATION := $(VENV)/.installed-integration
COMPILED := build/compiled
DOCS_SOURCE := build/docs-source
OTHER = .venv-$(shell $(PYTHON) -c 'import platform; print(platform.python_version())')

.PHONY: demo test test-long test-integration test-python test-compiled compiled venv-python conformance docs soak random-links mutations lint bench bench-peers bench-cost bench-workers bench-watched bench-loss bench-live-loss bench-memory bench-synflood venv clean
.DEFAULT_GOAL := demo

demo: $(RUN)
	$(BIN)/python bin/demo.py

# A worker collects all tests, which takes longer than more than a few of them save.
test: $(DEV)
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal $(PYTEST_ARGS)

test-long:
	AIOTCP_LONG=1 $(MAKE) test

test-integration: $(INTEGRATION)
	$(BIN)/python -m pytest -m integration tests/integration tests/test_guide.py $(PYTEST_ARGS)

test-python:
	$(MAKE) test VENV=$(OTHER) PYTEST_ARGS="tests/cpython tests/contract $(PYTEST_ARGS)"

test-compiled: compiled
	cd $(COMPILED) && $(abspath $(BIN))/python -m pytest tests/wire tests/tcp tests/model tests/scenarios tests/scenario/test_shipped.py \
		tests/test_chosen_options.py tests/test_congestion_doc.py tests/test_streams.py tests/test_taps.py tests/test_tcp_info.py \
		tests/link/test_tun.py tests/link/test_tun_open.py $(PYTEST_ARGS)

# What a user's installation is, and beside it what runs on it.
compiled: $(COMPILED)/.made
	cp -r bench bin docs examples tests pyproject.toml Makefile README.md $(COMPILED)

conformance: $(DEV)
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal --conformance=docs/conformance.md $(PYTEST_ARGS)

# Scenarios' pages are made for the site alone: they are what `aiotcp run` shows.
docs: $(DOCS)
	$(BIN)/python bin/options_doc.py docs/options.md
	$(BIN)/python bin/counters_doc.py docs/counters.md
	rm -rf $(DOCS_SOURCE) build/docs
	$(BIN)/python bin/docs_source.py $(DOCS_SOURCE)
	$(BIN)/python bin/scenarios_doc.py $(DOCS_SOURCE)/scenarios
	$(BIN)/python -m sphinx -W --keep-going -q -j auto -E -c docs/site -d build/docs-cache -b html $(DOCS_SOURCE) build/docs

soak: $(DEV)
	$(BIN)/python -m tests.model.soak $(SOAK_ARGS)

random-links: $(DEV)
	$(BIN)/python -m tests.model.random_links $(SOAK_ARGS)

mutations: $(DEV)
	$(BIN)/python -m tests.mutations

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(RUN)
	$(BIN)/python -m bench $(BENCH_ARGS)

# In an environment of their own: PyTCP is under the GPL, and nothing of ours imports it. What
# mitmproxy_rs depends on is for a mode that is not used, and is built from source.
bench-peers:
	$(PYTHON) -m venv build/bench/peers
	build/bench/peers/bin/python -m pip install --quiet --disable-pip-version-check uvloop PyTCP
	build/bench/peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps mitmproxy_rs

bench-cost: $(RUN)
	$(BIN)/python -m bench.cost

bench-workers: $(RUN)
	$(BIN)/python -m bench.workers

bench-watched: $(RUN)
	$(BIN)/python -m bench.watched

bench-loss: $(RUN)
	$(BIN)/python -m bench.loss $(LOSS_ARGS)

bench-live-loss: $(RUN)
	$(BIN)/python -m bench.loss.drops $(LOSS_ARGS)

bench-memory: $(RUN)
	$(BIN)/python -m bench.memory

bench-synflood: $(RUN)
	$(BIN)/python -m bench.synflood

venv: $(DEV)

venv-python:
	$(MAKE) venv VENV=$(OTHER)

clean:
	rm -rf .venv .venv-* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "aiotcp needs Python 3.11 or newer: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "Python's venv module is incomplete; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUN): pyproject.toml $(VENV)/pyvenv.cfg
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(DEV): pyproject.toml $(VENV)/pyvenv.cfg
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(RUN)

$(DOCS): pyproject.toml $(VENV)/pyvenv.cfg
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@ $(RUN)

$(COMPILED)/.made: setup.py $(wildcard aiotcp/*.py aiotcp/*/*.py) | $(DEV)
	rm -rf $(COMPILED) build/lib.*/aiotcp/*.py build/lib.*/aiotcp/*/*.py
	AIOTCP_MYPYC=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(COMPILED) .
	@touch $@

$(INTEGRATION): pyproject.toml $(VENV)/pyvenv.cfg
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,integration]'
	@touch $@ $(DEV) $(RUN)

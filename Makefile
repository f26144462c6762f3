# Two commands on a fresh machine: `make demo` and `make test`. Both build what they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-frameworks test-ranks fuzz-client fuzz-mcp lint bench bench-detect bench-detect-long bench-closed
.PHONY: test-faults bench-harm bench-ingest-long clean golden test-fast simulate-alerts

demo: $(VENV)/.demo
	$(BIN)/lrwatch demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist loadgroup

# The core of `make test` in under a minute on two cores: no browser, no ranks, no long processes.
test-fast: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 -m 'not slow and not frameworks'

test-frameworks: $(VENV)/.frameworks
	$(BIN)/python -m pytest tests/frameworks tests/test_examples.py tests/test_bench_*.py -m frameworks

# Several ranks for 10,000 and 100,000 steps, stopped, torn at and killed: minutes.
test-ranks: $(VENV)/.test
	LONG_TESTS=1 $(BIN)/python -m pytest tests/client/test_ranks.py --timeout 1200

# Each system call of a daemon's and a client's lives on the files of a run killed and failed, some 4,400 points: half an hour on two
# cores. What is done is kept in build/faults, so a run that was broken off goes on.
test-faults: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python -m faults

# A hundred days of healthy and faulty runs through the daemon and the alert rules: minutes.
simulate-alerts: $(VENV)/.test
	LONG_TESTS=1 $(BIN)/python -m pytest tests/e2e/test_simulated_alerts.py -s --timeout 1800

# A million hostile commands against a real optimizer: minutes.
fuzz-client: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python bench/fuzz_client.py

# A hundred thousand hostile calls of the tools for assistants: minutes.
fuzz-mcp: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python bench/fuzz_agent.py

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Regenerate what tests compare with files: the exposition of an example, the dashboards, the blocks of the documents.
golden: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python -m support.golden

bench: $(VENV)/.test
	$(BIN)/python bench/start.py
	$(BIN)/python bench/restart.py
	$(BIN)/python bench/client_step.py
	$(BIN)/python bench/latency.py
	$(BIN)/python bench/ingest_formats.py
	$(BIN)/python bench/events.py
	$(BIN)/python bench/text_and_mtail.py
	$(BIN)/python bench/replay.py
	$(BIN)/python bench/thousand_files.py
	$(BIN)/python bench/exposition.py

# Plateau rules on curves of known truth, false alarms against delay: a minute; the long one takes a quarter of an hour.
bench-detect: $(VENV)/.bench
	$(BIN)/python bench/detect --short

bench-detect-long: $(VENV)/.bench
	$(BIN)/python bench/detect --long

# Who turns the learning rate down best, on real trainings: some fifty minutes on two cores; `bench/closed --short` five. Both
# say how long they took. What is measured is kept in build/bench-closed, so a run that was broken off goes on, and a new
# policy has only its own runs to make.
bench-closed: $(VENV)/.bench
	$(BIN)/python bench/closed

# What lrwatch does to trainings that do well as they are: some fifteen minutes on two cores. What is measured is kept in
# build/bench-harm; `bench/harm --short` is under a minute, `--unseen` measures with seeds that nothing was tuned on.
bench-harm: $(VENV)/.bench
	$(BIN)/python bench/harm

# Ten million lines: minutes, and a gigabyte of temporary disk.
bench-ingest-long: $(VENV)/.test
	$(BIN)/python bench/replay.py --lines 100000 1000000 10000000

$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.test: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $(VENV)/.demo $@

$(VENV)/.frameworks: $(VENV)/.test pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,frameworks,bench]'
	touch $@

$(VENV)/.bench: $(VENV)/.test pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,bench]'
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

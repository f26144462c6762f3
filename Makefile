# Two commands on a fresh machine: `make demo` and `make test`. Both build what they need in .venv.
PYTHON ?= python3
VENV := .venv
DIST := dist
BIN := $(VENV)/bin

# Tests start thousands of Python processes: where bytecode may not be written, each of them compiles the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-frameworks test-ranks fuzz fuzz-client fuzz-mcp lint bench bench-detect bench-detect-long bench-closed
.PHONY: bench-harm bench-ingest-long clean golden test-fast simulate-alerts test-wheel test-pythons test-faults test-stateful soak
.PHONY: lock sbom build mutate

demo: $(VENV)/.demo
	$(BIN)/lrwatch demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 3 --dist loadgroup

# The core of `make test` in under a minute on two cores: what decides, what reads, and what talks to the trainer.
CORE := tests/core tests/formats tests/protocol tests/control tests/client tests/test_*.py
test-fast: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m 'not slow and not frameworks' $(CORE)

test-frameworks: $(VENV)/.frameworks
	$(BIN)/python -m pytest tests/frameworks tests/integrations tests/test_examples.py tests/test_bench_*.py -m frameworks

# The wheel in an environment of its own, the whole demo included: a minute.
test-wheel: $(VENV)/.test
	LONG_TESTS=1 $(BIN)/python -m pytest tests/deploy/test_wheel.py --timeout 600

# The demo under each Python that is on this machine, with the newest packages for it: minutes, and needs a package index.
test-pythons: $(VENV)/.test
	LONG_TESTS=1 $(BIN)/python -m pytest tests/deploy/test_pythons.py --timeout 900

# Several ranks for 10,000 and 100,000 steps, stopped, torn at and killed: minutes.
test-ranks: $(VENV)/.test
	LONG_TESTS=1 $(BIN)/python -m pytest tests/client/test_ranks.py --timeout 1200

# Each system call of a daemon's and a client's lives on the files of a run killed and failed, some 5,200 points: a quarter of an hour on
# two cores. What is done is kept in build/faults, so a run that was broken off goes on.
test-faults: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python -m faults

# A hundred days of healthy and faulty runs through the daemon and the alert rules: minutes.
simulate-alerts: $(VENV)/.test
	LONG_TESTS=1 $(BIN)/python -m pytest tests/e2e/test_simulated_alerts.py -s --timeout 1800

# Games of daemons and trainers with every accident in between, new ones each time, and the faults that they must find: some half an hour.
test-stateful: $(VENV)/.test
	STATEFUL_EXAMPLES=1000 STATEFUL_STEPS=50 $(BIN)/python -m pytest tests/e2e/test_stateful.py tests/e2e/test_planted_faults.py -s --timeout 7200

# Ten million lines followed, ten million steps taken, half a million journal entries, all as they come: memory, descriptors, threads
# and files must not grow. Some minutes; LONG=1 takes 10^8 lines, for hours.
soak: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python bench/soak.py $(if $(LONG),--long)

# Everything that takes bytes of anybody, FUZZ_SECONDS (60) for each of some twenty targets; `FUZZ=toml` or `FUZZ="http judge"`
# are single ones. What is worth keeping is kept in build/fuzz.
fuzz: $(VENV)/.fuzz
	$(BIN)/python bench/fuzz $(FUZZ)

# A million hostile commands against a real optimizer: minutes.
fuzz-client: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python bench/fuzz/client.py

# A hundred thousand hostile calls of the tools for assistants: minutes.
fuzz-mcp: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python bench/fuzz/agent.py

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Regenerate what tests compare with files: the exposition of an example, the dashboards, the documents.
golden: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python -m support.golden

.PHONY: docs pictures
# The documentation site in build/site. Strict: a link or an anchor that leads nowhere is an error. It needs no network.
docs: $(VENV)/.docs  # not --quiet, which would let a warning pass
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "build/site/index.html; with the search: $(BIN)/python -m http.server -d build/site"

$(VENV)/.docs: $(VENV)/.demo pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

# The picture of the README: the live page of a real training. Two minutes, and chromium.
pictures: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python bench/live_page_picture.py

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

# The packages of the container image, each with its hashes and none with the address of an index. Resolves anew: newer releases come in.
LOCK = CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/python -m piptools compile --quiet --upgrade --strip-extras --generate-hashes \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options
lock: $(VENV)/.dev
	$(LOCK) --output-file deploy/docker/requirements.lock pyproject.toml
	$(LOCK) --build-deps-for wheel --only-build-deps --output-file deploy/docker/build.lock pyproject.toml

# What the image is made of, as CycloneDX JSON. cyclonedx-py warns that a lock file does not say who needs what.
sbom: $(VENV)/.test
	mkdir -p $(DIST)
	$(BIN)/python -W ignore::UserWarning -m cyclonedx_py requirements --pyproject pyproject.toml --mc-type application \
		--output-reproducible --output-file $(DIST)/lrwatch.cdx.json deploy/docker/requirements.lock

# Wheel and source distribution. The time in them is that of the last commit: the same commit gives the same bytes.
build: $(VENV)/.test
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} $(BIN)/python -m hatchling build -d $(DIST)

# Mutants of the command's life, the strategies and the client: hours. What is done is kept in build/mutation, and a run that was broken
# off goes on. ROOMS chooses, as ROOMS=command; docs/mutation.md says how to read the result.
ROOMS := command strategies client
mutate: $(VENV)/.dev
	nice -n 19 $(BIN)/python bench/mutate.py $(ROOMS)

$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.test: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $(VENV)/.demo $@

$(VENV)/.fuzz: $(VENV)/.test pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,fuzz]'
	touch $@

$(VENV)/.frameworks: $(VENV)/.test pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,frameworks,bench]'
	touch $@

$(VENV)/.dev: $(VENV)/.test pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,dev]'
	touch $@

$(VENV)/.bench: $(VENV)/.test pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,bench]'
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

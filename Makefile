# Needs Python 3.11 with venv, make and a C compiler; everything else comes from requirements.lock, by hash.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed-from-lock
RIVALS := $(VENV)/.installed-side-by-side

.PHONY: demo test torture check bench bench-side-by-side sim fuzz lock clean

demo: $(READY)
	$(BIN)/orledger demo $(DEMO_ARGS)

# Two workers a core: half of what the tests of real processes take is waiting. Files begin in the order of
# tests/conftest.py.
WORKERS ?= $(shell echo $$((2 * $$(nproc))))
test: $(READY)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TEST_ARGS)

# Real processes killed, frozen, cut off and starved for minutes; as root also with network namespaces and full disks.
torture: $(READY)
	$(BIN)/pytest tests/torture tests/processes -m 'soak or not soak' --log-cli-level=WARNING $(TEST_ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(READY)
	$(BIN)/python -m benchmarks

# The same work on NATS JetStream, etcd and PostgreSQL: docs/benchmarks.md says what must be installed.
bench-side-by-side: $(RIVALS)
	$(BIN)/python -m benchmarks.side_by_side $(BENCH_ARGS)

# The cluster simulation, as many seeds as wanted: make sim SEEDS=100000
SEEDS ?= 1000
sim: $(READY)
	$(BIN)/python -m tests.sim --seeds $(SEEDS) $(SIM_ARGS)

# So many damaged inputs for every driver, or one, on all processors: make fuzz DRIVER=ge-dri FUZZ=100000
FUZZ ?= 1000000
fuzz: $(READY)
	$(BIN)/python -m tests.fuzz --inputs $(FUZZ) $(if $(DRIVER),--driver $(DRIVER)) $(FUZZ_ARGS)

COMPILE = env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null $(BIN)/pip-compile --quiet $(LOCK_ARGS) \
    $(1) --allow-unsafe --strip-extras --generate-hashes --no-header \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options --output-file $(2) $(3)

# Pins stay where they still fit; LOCK_ARGS=--upgrade moves them all. Reads the package index and nothing of this
# machine's pip settings, so that the lock names no host and no path.
lock: $(READY)
	$(call COMPILE,--extra dev --all-build-deps,requirements.lock,pyproject.toml)
	$(call COMPILE,,benchmarks/requirements.lock,benchmarks/requirements.in)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("orledger needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

$(RIVALS): $(READY) benchmarks/requirements.lock
	$(BIN)/pip install --quiet --require-hashes -r benchmarks/requirements.lock
	touch $@

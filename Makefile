# Everything starts here: `make demo` shows it, `make test` proves it.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# They wait more than they compute; each has servers of its own.
WORKERS ?= 4
CORES := $(shell nproc)
TYPED := $(wildcard cdc cdc_reader redis_sink cdc_verify tests benchmarks)

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export DEPTH

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv servers demo test check unit model integration fault acceptance backfill soak month bench clean

help: ## Show the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

venv: $(INSTALLED) ## Make .venv with the package and its tools

# A changed setup.cfg or C source installs again.
$(INSTALLED): setup.cfg setup.py pyproject.toml $(wildcard */native/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) must be Python 3.11 or newer; choose one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@# As an installation would: compiling takes half as long as a start of cdc by itself.
	$(BIN)/python -m compileall -q cdc cdc_reader redis_sink cdc_verify
	@touch $@

servers: venv ## Bring mysqld and mariadbd, two versions of each, nats-server, and two of redis-server
	$(BIN)/python -m cdc.demo.fetch

# Brings the three servers that it needs.
demo: venv ## Run the main job on real servers and show each change on its way
	$(BIN)/cdc demo

test: servers unit ## Run all tests on real servers; DEPTH=full repeats each fault more often
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --durations 20 \
		$(wildcard $(addprefix tests/,fault model acceptance integration))

check: venv ## Check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict $(TYPED)

unit: venv ## Run the tests that need no server, and show what they cover
	rm -rf build/coverage
	mkdir -p build/coverage
	$(BIN)/coverage run -m pytest -n $(CORES) --dist worksteal $(wildcard tests/unit tests/golden)
	$(BIN)/python -m tests.support.covered

model: venv ## Search the model of the protocol; DEPTH=full and MODEL_DEPTH=4 look further
	MODEL_DEPTH=$(or $(MODEL_DEPTH),0) $(BIN)/pytest -rP tests/model

integration fault acceptance: servers
	$(BIN)/pytest -n $(WORKERS) --dist worksteal tests/$@

integration: ## Run the tests of each side on its server
fault: ## Run the tests that kill, freeze and cut
acceptance: ## Run the tests of the command as a whole

backfill: servers ## Read a million rows under load and ten SIGKILLs
	BACKFILL_ROWS=$(or $(ROWS),1000000) $(BIN)/pytest -rP tests/fault/test_backfill.py -k killed_ten_times

soak: servers ## Random faults for HOURS=n (10 minutes if not said); SEED=n replays them
	$(BIN)/python -m tests.soak --hours $(or $(HOURS),0.167) $(if $(SEED),--seed $(SEED))

month: servers ## A month in production in MINUTES=n (10 if not said), without a person; SEED=n
	$(BIN)/python -m tests.month --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

bench: servers ## Measure throughput, latency and memory: build/bench.md, 40 minutes
	$(BIN)/python -m benchmarks --json build/bench.json --markdown build/bench.md

clean: ## Remove everything that make has made
	rm -rf .venv .servers build dist *.egg-info
	rm -f */_native.*.so
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Two commands on a fresh machine: `make demo` and `make test`. `make help` lists the rest.
# Everything is installed into .venv of this clone, from the lock files, hashes checked.

PORT ?= 8080
MESSAGES ?= 1000000
SEED ?= 1
# More processes than most machines have cores, because tests mostly wait for the start of a server or for a disk.
PYTEST_FLAGS ?= -n 4 --dist loadfile --no-loadscope-reorder
LOCK_FLAGS ?=

# The first Python that is new enough. PYTHON=/path/to/python selects another one.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# The folders of servers from packages of Debian and Red Hat. The wheel contains 16 and 18.
INSTALLED := $(foreach version,15 16 17 18,/usr/lib/postgresql/$(version)/bin /usr/pgsql-$(version)/bin)

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.PHONY: setup demo test check lint types test-browser fuzz coverage test-versions example mutants bench load soak health schema lock help clean

setup: .venv/.dev ## set up .venv with everything that development needs (the default)

demo: .venv/.runtime ## serve a realistic queue from an embedded PostgreSQL (PORT=8080 MESSAGES=1000000)
	@exec $(BIN)/queuestats demo --port $(PORT) --messages $(MESSAGES)

test: check .cache/node/.installed ## run lint, types, and all tests against a real PostgreSQL
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

check: .venv/.dev ## run lint and types only, in parallel
	@$(MAKE) --no-print-directory --jobs 2 types lint

lint: .venv/.dev ## check the style of Python and SQL, and the locks of migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/sqlfluff lint sql
	@mkdir -p .cache
	$(BIN)/alembic upgrade head --sql > .cache/migrations.sql
	$(BIN)/squawk .cache/migrations.sql

types: .venv/.dev ## check types, and the imports of modules
	$(BIN)/mypy service tests migrations
	$(BIN)/lint-imports --no-cache

test-browser: .venv/.dev ## test the dashboard in a real Chromium, which must be installed
	$(BIN)/python -m pytest $(PYTEST_FLAGS) tests/browser

fuzz: .venv/.dev ## send 100,000 requests that /openapi.json permits
	FUZZ_CASES=10000 $(BIN)/python -m pytest -n 0 tests/api/test_openapi.py

coverage: .venv/.dev ## run the tests, and list the branches of service/ that no test runs
	$(BIN)/python -m pytest $(PYTEST_FLAGS) --cov --cov-report=term-missing:skip-covered

test-versions: .venv/.dev ## run the database tests on every available PostgreSQL from 15 to 18
	@failed=; for server in 16 18 $(wildcard $(INSTALLED)); do \
		echo "PostgreSQL: $$server"; \
		QUEUESTATS_TEST_BINARIES=$$server $(BIN)/python -m pytest $(PYTEST_FLAGS) tests/db || failed="$$failed $$server"; \
	done; [ -z "$$failed" ] || { echo "Failed on:$$failed" >&2; exit 1; }

example: .venv/.dev ## apply the example of CONTRIBUTING to a copy, and run the checks and tests there
	$(BIN)/python -m tests.contributing.campaign

mutants: .venv/.dev ## run mutation tests of the modules in [tool.mutmut]; prints unexplained survivors
	$(BIN)/python -m tests.mutants.run

bench: .venv/.dev ## run all benchmarks with the competitors (half an hour)
	$(BIN)/queuestats bench sql
	$(BIN)/queuestats bench write
	$(BIN)/python -m tests.load.http

load: MINUTES ?= 5
load: .venv/.dev ## run a thousand polling clients against a new server, and compare the responses (MINUTES=5 LOAD="--clients 64 --pause 0.1")
	@exec $(BIN)/python -m tests.load.run --minutes $(MINUTES) $(LOAD)

soak: MINUTES ?= 60
soak: .venv/.dev ## run writers, operators and readers for an hour, with a fault every 20 seconds (MINUTES=60 SEED=1 CLUSTER=1)
	@exec $(BIN)/python -m tests.soak.run --minutes $(MINUTES) --seed $(SEED) $(if $(CLUSTER),--cluster)

health: .venv/.dev ## generate docs/health.md from the list of conditions
	WRITE_HEALTH=1 $(BIN)/python -m pytest --quiet tests/unit/test_health_document.py

schema: .venv/.dev ## generate sql/schema.sql from the migrations
	WRITE_SCHEMA=1 $(BIN)/python -m pytest --quiet tests/db/test_schema.py

lock: ## update the lock files from pyproject.toml (LOCK_FLAGS=--upgrade: newest versions)
	@$(find-python)
	"$(PYTHON)" -m venv .cache/uv
	.cache/uv/bin/python -m pip install -qq --disable-pip-version-check uv
	$(compile) --group dev --extra embedded --extra otel pyproject.toml --output-file requirements-dev.lock
	$(compile) --constraints requirements-dev.lock pyproject.toml --output-file requirements.lock
	$(compile) --constraints requirements-dev.lock --extra embedded pyproject.toml --output-file requirements-embedded.lock
	$(compile) --constraints requirements-dev.lock --group build --output-file requirements-build.lock

compile = .cache/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links $(LOCK_FLAGS)

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

clean: ## remove .venv and all other generated files, except the data of the demo
	rm -rf .venv .cache .hypothesis build dist mutants
	find service tests migrations -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.runtime: requirements-embedded.lock requirements-build.lock pyproject.toml
	$(call install,-r requirements-embedded.lock -r requirements-build.lock)

.venv/.dev: requirements-dev.lock pyproject.toml
	$(call install,-r requirements-dev.lock)

# TypeScript, for tests/clients. Without npm or its packages, these tests are skipped.
.cache/node/.installed: tests/clients/package.json tests/clients/package-lock.json
	@mkdir -p $(@D) && cp $^ $(@D) && cd $(@D) && \
	npm ci --ignore-scripts --fetch-retries=1 --no-audit --no-fund --loglevel=error && touch .installed || \
	echo "There is no npm, or it can't install TypeScript: tests that need it are skipped."

# A lock file is complete, so pip must resolve nothing (--no-deps). Otherwise an older pip installs a release of
# `coverage[toml]` that is not in the file. Without the stamp .runtime, .venv comes from an interrupted set-up and is
# created again. The lock is on this file until the shell ends, so a second make in the same clone waits.
define install
@set -e; $(find-python); \
exec 9<Makefile; "$(PYTHON)" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'; \
if [ -e .venv/.runtime ] && [ -e $@ ] && [ -z "$$(find $^ -newer $@)" ]; then exit 0; fi; \
echo "Setting up .venv; this takes a minute ..."; \
[ -e .venv/.runtime ] || { rm -rf .venv; "$(PYTHON)" -m venv .venv; }; \
rm -f .venv/.runtime .venv/.dev; \
$(PIP) install -qq --no-deps --require-hashes $(1); \
$(PIP) install -qq --no-deps --no-build-isolation --editable .; \
touch .venv/.runtime $@
endef

define find-python
"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "queuestats needs Python 3.11 or newer; set its path: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
	{ echo "$(PYTHON) lacks its venv module; on Debian and Ubuntu install python3-venv" >&2; exit 1; }
endef

# Every command of the project, once. `make help` lists them; .ci/run calls the same targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.synced
# A uv of the caller's own wins; else one is put into the checkout, never into the system.
UV := $(shell command -v uv 2>/dev/null || echo .tools/uv/bin/uv)
UV_VERSION := 0.13.8
export UV_PROJECT_ENVIRONMENT := $(VENV)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
# Set on some machines: then each process that the tests start would compile all that it imports.
export PYTHONDONTWRITEBYTECODE :=
LOCK := pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --quiet

SEED ?=
FAULTS ?=

.PHONY: help setup demo serve test prove chaos chaos-webhooks receivers bench check fmt lock migrate docs clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.tools/uv/bin/uv:
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-warn-script-location --target .tools/uv "uv==$(UV_VERSION)"

$(STAMP): requirements/dev.txt pyproject.toml | $(filter .tools/uv/bin/uv,$(UV))
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	$(UV) pip sync --quiet --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(STAMP) ## install the locked environment into .venv

demo: $(STAMP) ## real jobs on a real model, from nothing: under a minute, no key, no Docker
	$(BIN)/inferd demo

serve: $(STAMP) ## the same servers, kept running
	$(BIN)/inferd serve

test: $(STAMP) ## the whole suite on real PostgreSQL and Valkey
	$(BIN)/python -m pytest --numprocesses=3 --dist=worksteal

prove: $(STAMP) ## the proofs in full: longer and random state machines, a death at every step
	PROVE=full $(BIN)/python -m pytest --timeout=1200 tests/proofs

chaos: $(STAMP) ## processes die, stores stall, one tenant is greedy; judged from outside; SEED=n repeats one; FAULTS=storm,pg_stall; KILLS=50
	$(BIN)/python -m tests.chaos.run $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(KILLS),--kills $(KILLS))

bench: $(STAMP) ## measure against the baselines; JSON=FILE for the report; QUICK=1 only tries it
	$(UV) pip install --quiet --require-hashes --requirement requirements/bench.txt
	@mkdir -p build
	$(BIN)/python -m bench $(if $(QUICK),--quick) --json $(or $(JSON),build/bench.json) --markdown build/bench.md --png build/bench.png

chaos-webhooks: $(STAMP) ## 10,000 webhooks to faulty receivers while processes die; SEED=n repeats one
	$(BIN)/python -m tests.webhooks.chaos $(if $(SEED),--seed $(SEED))

receivers: $(STAMP) ## the documented Express receiver, in Node.js, against our signatures
	npm ci --silent --prefix tests/webhooks/express
	$(BIN)/python -m pytest tests/webhooks/express/check_express.py

check: $(STAMP) ## format, lint, types, import contracts, docs and lock drift
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/coverage run -m pytest tests/unit/domain --confcutdir=tests/unit -p no:cacheprovider
	$(BIN)/coverage report
	$(BIN)/python -m tools.reference --check
	$(BIN)/python -m tests.lock_drift $(UV)

fmt: $(STAMP) ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP) ## write the generated pages and .env.example
	$(BIN)/python -m tools.reference

lock: | $(filter .tools/uv/bin/uv,$(UV)) ## resolve the dependencies again into requirements/
	$(UV) $(LOCK) --output-file requirements/runtime.txt
	$(UV) $(LOCK) --extra embedded --group dev --constraint requirements/runtime.txt --output-file requirements/dev.txt
	$(UV) $(LOCK) --extra embedded --group bench --constraint requirements/dev.txt --output-file requirements/bench.txt

migrate: $(STAMP) ## bring the database of INFERD_DATABASE_OWNER_URL to the newest schema
	$(BIN)/inferd migrate

clean: ## remove what the targets above made in the checkout
	rm -rf $(VENV) .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage build dist

# What a person types. `make run` needs Python >= 3.11, make and a package index; everything else is installed into .venv.

PYTHON ?= python3
BIN := .venv/bin
export PYTHONUNBUFFERED := 1

.PHONY: run ui stop doctor test bench check lint types walls defs lock clean help

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

run: .venv/installed  ## today's dip list: install, fetch, judge, grade, publish
	@$(BIN)/python -m trading_pipeline.cli run

ui: .venv/installed  ## the Dagster UI and daemon on 127.0.0.1
	@$(BIN)/python -m trading_pipeline.cli ui

stop:  ## end everything that was started: UI, daemon, PostgreSQL
	@test ! -x $(BIN)/python || $(BIN)/python -m trading_pipeline.cli stop

doctor: .venv/installed  ## what is set, what is reachable, what is missing
	@$(BIN)/python -m trading_pipeline.cli doctor

test: .venv/installed-dev  ## the whole suite
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

bench: .venv/installed-dev  ## ratios against named baselines, as a table
	@$(BIN)/python -m benchmarks

check: lint types walls defs  ## everything but the tests

lint: .venv/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: .venv/installed-dev
	@$(BIN)/mypy

walls: .venv/installed-dev
	@$(BIN)/lint-imports

defs: .venv/installed-dev
	@$(BIN)/dbt parse --quiet --project-dir dbt_project --profiles-dir dbt_project
	@PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH="$(CURDIR)" $(BIN)/dg check defs

lock:  ## write the lock files anew (needs uv)
	uv pip compile -q --no-strip-extras --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
		pyproject.toml -o requirements.lock
	uv pip compile -q --no-strip-extras --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--group dev pyproject.toml -c requirements.lock -o requirements-dev.lock

clean: stop  ## remove what was installed; the state folder stays
	rm -rf .venv

# uv where it is present, plain pip otherwise; both refuse what the lock does not name.
define install
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.11 or the like.")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing $(1) (once) ..."
	@if command -v uv >/dev/null 2>&1; then uv pip install -q --python $(BIN)/python --no-deps --require-hashes -r $(1); \
	else $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r $(1); fi
	@touch $@
endef

.venv/installed: requirements.lock
	$(call install,requirements.lock)

.venv/installed-dev: requirements-dev.lock
	$(call install,requirements-dev.lock)
	@touch .venv/installed

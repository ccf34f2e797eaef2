# What a person types. `make run` needs Python >= 3.11, make and a package index; everything else is installed into .venv.

BIN := .venv/bin
SUITABLE := -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
# The first that will do, unless PYTHON names one.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" $(SUITABLE) 2>/dev/null && echo "$$python" && break; done)
export PYTHONUNBUFFERED := 1
export DAGSTER_DISABLE_TELEMETRY := 1

.PHONY: run backfill rebase backtest replay halt ui stop doctor test bench check lint types walls defs lock clean help

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

run: .venv/installed  ## today's dip list: install, fetch, judge, grade, publish
	@$(BIN)/python -m trading_pipeline.cli run

backfill: .venv/installed  ## past sessions: make backfill FIRST=2024-01-02 LAST=2024-03-28 [MARKET=asx]
	@$(BIN)/python -m trading_pipeline.cli backfill $(FIRST) $(LAST) $(if $(MARKET),--market $(MARKET))

rebase: .venv/installed  ## take over a history the provider changed as a whole: make rebase TICKERS="AAPL MSFT"
	@$(BIN)/python -m trading_pipeline.cli rebase $(TICKERS) $(if $(MARKET),--market $(MARKET))

backtest: .venv/installed  ## one configuration, by its name or its file: make backtest CONFIG=momentum-hrp
	@$(BIN)/python -m trading_pipeline.cli backtest $(CONFIG)

replay: .venv/installed  ## a recorded session with the live loop: make replay SESSION=2025-09-17 [BOOK=replay:mine]
	@$(BIN)/python -m trading_pipeline.cli replay $(SESSION) $(if $(MARKET),--market $(MARKET)) $(if $(BOOK),--book $(BOOK)) $(if $(RESUME),--resume)

halt: .venv/installed  ## the kill switch: make halt [REASON="..."]; make halt LIFT=1 lifts it
	@$(BIN)/python -m trading_pipeline.cli halt $(if $(LIFT),--lift,"$(REASON)")

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
	@echo "Installing $(1) (once) ..."
	@if command -v uv >/dev/null 2>&1; then uv pip install -q --python $(BIN)/python --no-deps --require-hashes -r $(1); \
	else $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r $(1); fi
	@touch $@
endef

# What was installed says nothing where the Python of .venv was upgraded away, or where the clone was moved: its scripts
# begin with the path they were installed to. Such a .venv is made anew.
SOUND := $(shell test "$$(cat .venv/made-in 2>/dev/null || echo '$(CURDIR)')" = '$(CURDIR)' \
	&& $(BIN)/python $(SUITABLE) 2>/dev/null \
	&& { command -v uv || $(BIN)/python -c 'import pip'; } >/dev/null 2>&1 && echo yes)

ifneq ($(SOUND),yes)
.PHONY: .venv/made-in
endif

.venv/made-in:
	@test '$(SOUND)' = yes || { test -n '$(PYTHON)' && '$(PYTHON)' $(SUITABLE) 2>/dev/null; } || { \
		echo 'Python 3.11, 3.12 or 3.13 is needed. Install one, or name it: make PYTHON=/path/to/python3.12 ...' >&2; exit 1; }
	@test '$(SOUND)' = yes || { rm -rf .venv && '$(PYTHON)' -m venv .venv; } || { rm -rf .venv; \
		echo 'The virtual environment .venv cannot be made. On Debian and Ubuntu, install python3-venv.' >&2; exit 1; }
	@echo '$(CURDIR)' > $@

.venv/installed: requirements.lock .venv/made-in
	$(call install,requirements.lock)

.venv/installed-dev: requirements-dev.lock .venv/made-in
	$(call install,requirements-dev.lock)
	@touch .venv/installed

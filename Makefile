# `make` lists what there is. Everything happens in .venv; nothing needs root or a container.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help install demo serve test check bench bench-search clean

BIN := .venv/bin
PINS := pyproject.toml requirements/constraints.txt requirements/install.sh
BENCHMARKS := $(sort $(notdir $(basename $(filter-out %/__init__.py,$(wildcard tests/benchmarks/*.py)))))

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/.all ## Install everything, development tools included (again: installs nothing)

demo: .venv/.demo ## Install what it needs and run the main job on real images, end to end
	@$(BIN)/python -m api.demo

serve: .venv/.demo ## Serve the pages and the API on this machine
	@$(BIN)/headstart serve

test: .venv/.all ## Install, then run the test suite, two tests at a time, with coverage
	@requirements/chromium.sh
	@$(BIN)/python -m pytest -n 2 --cov --cov-report=term

check: .venv/.all ## Lint, formatting, types and import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: .venv/.all ## Run every benchmark in tests/benchmarks
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m "tests.benchmarks.$$name"; done

bench-search: .venv/.all ## Measure a search step (REFERENCE=PATH: against a checkout of quark0/darts)
	@$(BIN)/python -m tests.benchmarks.bench_search

clean: ## Remove the environment, caches and build outputs (never var/, where data lives)
	@rm -rf .venv build *.egg-info .coverage .coverage.* htmlcov
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './var/*' -prune -exec rm -rf {} +

.venv/.all: $(PINS)
	@requirements/install.sh worker,demo,dev
	@touch .venv/.demo $@

.venv/.demo: $(PINS)
	@requirements/install.sh worker,demo
	@touch $@

# `make` lists what there is. Everything happens in .venv; nothing needs root or a container.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help install demo screenshots cluster chaos soak serve test gpu check bench bench-ot bench-search bench-transfer bench-intake bench-pruning bench-limits bench-masks bench-few-shot bench-prescreens bench-refinement attack contract client clean

BIN := .venv/bin
PINS := pyproject.toml requirements/constraints.txt requirements/install.sh
# Those that measure on a suite of tasks run only when SUITE names its folder.
ON_SUITE := bench_embedders bench_few_shot bench_heads bench_limits bench_masks bench_prescreens bench_pruning bench_recipe bench_refinement bench_retrain bench_robust bench_selection bench_spending bench_transfer bench_zoo
BENCHMARKS := $(filter-out $(ON_SUITE),$(sort $(basename $(notdir $(wildcard tests/benchmarks/bench_*.py)))))

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/.all ## Install everything, development tools included (again: installs nothing)

demo: .venv/.demo ## Install what it needs and run the main job on real images, end to end
	@$(BIN)/python -m api.demo

cluster: .venv/.all ## Run demo's job through PostgreSQL, Redis, S3, the API and two workers, and compare
	@$(BIN)/python -m tests.cluster $(if $(SEED),--seed $(SEED))

chaos: .venv/.all ## Break a cluster in every way foreseen and judge it; ONLY=kills,redis SCALE=0.1 for less
	@$(BIN)/python -m tests.chaos $(if $(ONLY),--only $(ONLY)) $(if $(SCALE),--scale $(SCALE)) \
	  $(if $(SEED),--seed $(SEED)) $(if $(STORE),--store $(STORE))

soak: .venv/.all ## Mixed work and random faults for HOURS=2: nothing may be lost, nothing may grow
	@$(BIN)/python -m tests.chaos.soak $(if $(HOURS),--hours $(HOURS)) $(if $(SEED),--seed $(SEED))

contract: .venv/.all ## Try the HTTP interface against its document: EXAMPLES=500 for each operation; SEED=0 PATHS=/v1/jobs
	@$(BIN)/python -m tests.contract $(if $(EXAMPLES),--examples $(EXAMPLES)) $(if $(SEED),--seed $(SEED)) $(if $(PATHS),--paths '$(PATHS)')

attack: .venv/.all ## Every hostile upload by body, in pieces and by form; ROWS=7-9 DOORS=rest MUTATIONS=500 for less
	@$(BIN)/python -m tests.attacks $(if $(ROWS),--rows $(ROWS)) $(if $(DOORS),--doors $(DOORS)) \
	  $(if $(MUTATIONS),--mutations $(MUTATIONS)) $(if $(HTTP),--by-http $(HTTP)) \
	  $(if $(SEED),--seed $(SEED))

screenshots: .venv/.all ## Look at every page in light, in dark and as wide as a phone: var/screenshots
	@$(BIN)/python -m tests.screenshots

serve: .venv/.demo ## Serve the pages and the API on this machine
	@$(BIN)/headstart serve

# Tests wait for servers and children half of their time: two at a time leave a core idle.
test: .venv/.all ## Install, then run the test suite, three tests at a time, with coverage
	@requirements/chromium.sh
	@requirements/generators.sh
	@requirements/mlflow.sh
	@$(BIN)/python -m pytest -n 3 --dist worksteal --cov --cov-report=term

gpu: .venv/.all ## On a machine with CUDA: search, retraining, pruning and memory are there what they are on a CPU
	@$(BIN)/python -m pytest -m gpu tests/unit

check: .venv/.all ## Lint, formatting, types and import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: .venv/.all ## Run every benchmark in tests/benchmarks; with SUITE=folder also those on tasks
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m "tests.benchmarks.$$name"; done
	@for name in $(if $(SUITE),$(ON_SUITE)); do \
	  echo "== $$name"; $(BIN)/python -m "tests.benchmarks.$$name" "$(SUITE)"; done

bench-ot: .venv/.all ## Time the distance engine, against REFERENCE=checkout of microsoft/otdd if given
	@$(BIN)/python -m tests.benchmarks.bench_ot --threads $(or $(THREADS),2) \
	  $(if $(REFERENCE),--reference "$(REFERENCE)") $(if $(SUITE),--suite "$(SUITE)")

bench-search: .venv/.all ## Time a search step, against REFERENCE=checkout of quark0/darts; SUITE=folder: robustness
	@$(if $(REFERENCE),REFERENCE="$(REFERENCE)") $(BIN)/python -m tests.benchmarks.bench_search
	@$(if $(SUITE),$(BIN)/python -m tests.benchmarks.bench_robust "$(SUITE)")

bench-transfer: .venv/.all ## Measure what a head start gives on SUITE=folder, SCALE=tiny|small|full; goes on where it was
	@$(if $(SUITE),,echo "SUITE=folder of TASK.zip archives is needed"; exit 1)
	@$(BIN)/python -m tests.benchmarks.bench_transfer "$(SUITE)" --scale $(or $(SCALE),tiny) \
	  --seeds $(or $(SEEDS),3) $(if $(JOBS),--jobs $(JOBS)) $(if $(TARGETS),--targets $(TARGETS)) \
	  $(if $(RESNET18),--resnet18 "$(RESNET18)") $(if $(DOCUMENT),--document "$(DOCUMENT)")

bench-pruning: .venv/.all ## Retrain searched, random and largest parts of a network on SUITE=folder; goes on where it was
	@$(if $(SUITE),,echo "SUITE=folder of TASK.zip archives is needed"; exit 1)
	@$(BIN)/python -m tests.benchmarks.bench_pruning "$(SUITE)" --seeds $(or $(SEEDS),3) \
	  $(if $(TASKS),--tasks $(TASKS)) $(if $(SHARES),--shares $(SHARES)) $(if $(SOURCE),--source $(SOURCE)) $(if $(JOBS),--jobs $(JOBS))

bench-limits: .venv/.all ## Train the strongest cells within limits of size on SUITE=folder; goes on where it was
	@$(if $(SUITE),,echo "SUITE=folder of TASK.zip archives is needed"; exit 1)
	@$(BIN)/python -m tests.benchmarks.bench_limits "$(SUITE)" --seeds $(or $(SEEDS),3) \
	  $(if $(TASKS),--tasks $(TASKS)) $(if $(JOBS),--jobs $(JOBS))

bench-masks: .venv/.all ## Train what other tasks' masks leave of a network on SUITE=folder; goes on where it was
	@$(if $(SUITE),,echo "SUITE=folder of TASK.zip archives is needed"; exit 1)
	@$(BIN)/python -m tests.benchmarks.bench_masks "$(SUITE)" --seeds $(or $(SEEDS),3) \
	  $(if $(TASKS),--tasks $(TASKS)) $(if $(SHARE),--share $(SHARE)) $(if $(JOBS),--jobs $(JOBS))

bench-few-shot: .venv/.all ## Train on few images of SUITE=folder what learned on the nearest task; goes on where it was
	@$(if $(SUITE),,echo "SUITE=folder of TASK.zip archives is needed"; exit 1)
	@$(BIN)/python -m tests.benchmarks.bench_few_shot "$(SUITE)" --draws $(or $(DRAWS),5) \
	  $(if $(TASKS),--tasks $(TASKS)) $(if $(SHOTS),--shots $(SHOTS)) $(if $(RATE),--rate $(RATE)) $(if $(JOBS),--jobs $(JOBS))

bench-prescreens: .venv/.all ## Rank architectures on SUITE=folder by pre-screens and by training; goes on where it was
	@$(if $(SUITE),,echo "SUITE=folder of TASK.zip archives is needed"; exit 1)
	@$(BIN)/python -m tests.benchmarks.bench_prescreens "$(SUITE)" --seeds $(or $(SEEDS),3) \
	  $(if $(TASKS),--tasks $(TASKS)) $(if $(JOBS),--jobs $(JOBS))

bench-refinement: .venv/.all ## Find trade-offs on SUITE=folder in equal seconds; goes on where it was
	@$(if $(SUITE),,echo "SUITE=folder of TASK.zip archives is needed"; exit 1)
	@$(BIN)/python -m tests.benchmarks.bench_refinement "$(SUITE)" --seeds $(or $(SEEDS),3) \
	  $(if $(TASKS),--tasks $(TASKS)) $(if $(JOBS),--jobs $(JOBS))

bench-intake: .venv/.all ## Time intake beside a loader, cut uploads, send GIB=2 four times; SUITE=folder: messy archives
	@$(BIN)/python -m tests.benchmarks.bench_intake $(if $(ONLY),--only $(ONLY)) \
	  $(if $(SCALE),--scale $(SCALE)) $(if $(SUITE),--suite "$(SUITE)") $(if $(GIB),--gib $(GIB)) \
	  $(if $(SCRATCH),--home "$(SCRATCH)")

client: .venv/.all ## Make the client's types, addresses and blocking half anew from docs/openapi.json
	@$(BIN)/python -m api.client_code --write

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

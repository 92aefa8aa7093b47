#!/usr/bin/env bash
# Cancels the jobs of the runs in a folder, and says how many. For a snakemake that was killed with -9 and could not do
# so itself; training runs save their state first. Usage: cancel_jobs.sh [FOLDER]; it is the working directory
# of snakemake, which is what --directory says where that was given. Never cancels the job that it runs in.
set -euo pipefail

stop() {
  echo "error: $1" >&2
  exit 1
}

folder=${1:-.}
here=$(cd -- "$folder" 2>/dev/null && pwd -P) || stop "DIR=$folder is no folder; give the one that snakemake ran in."
# a folder may have any character in its name, so it stands last
jobs=$(squeue --me --noheader --format='%i|%j|%t|%Z') || stop "squeue cannot be asked, so nothing was cancelled in $here."

# The plugin names the jobs of one snakemake by an id of that run, and its controller is a job of ours; a person's own
# jobs in the same folder have other names.
of_a_run='^(.+_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$|^retclip-tune$'
found=()
declare -A others=()
while IFS='|' read -r id name state workdir; do
  [[ $name =~ $of_a_run && $id != "${SLURM_JOB_ID:-}" && $state != CG ]] || continue  # CG: it is ending already
  # the folder may be known by another name, through a symbolic link; or be gone
  workdir=$(cd -- "$workdir" 2>/dev/null && pwd -P || echo "$workdir")
  if [ "$workdir" = "$here" ]; then
    found+=("$id")
  else
    others[$workdir]=$((${others[$workdir]:-0} + 1))
  fi
done <<< "$jobs"

if [ ${#found[@]} -gt 0 ]; then
  scancel "${found[@]}" || stop "scancel failed for some of the ${#found[@]} jobs of $here; squeue --me shows which are left."
fi
echo "cancelled ${#found[@]} jobs of $here"
for workdir in "${!others[@]}"; do
  printf 'not cancelled: %s jobs of %s; for them, make cancel DIR=%q\n' "${others[$workdir]}" "$workdir" "$workdir"
done
# who gave no folder meant all of them, or another one
[ $# -gt 0 ] || [ ${#found[@]} -gt 0 ] || [ ${#others[@]} -eq 0 ] || exit 1

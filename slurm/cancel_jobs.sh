#!/usr/bin/env bash
# Cancels the jobs of this working directory, but not the one that this runs in. For a snakemake that was killed
# with -9 and could not do so itself; trainings save their state before they leave.
set -euo pipefail
squeue --me --noheader --format='%i %Z' \
  | awk -v here="$PWD" -v self="${SLURM_JOB_ID:-none}" '$2 == here && $1 != self {print $1}' \
  | xargs --no-run-if-empty scancel

#!/usr/bin/env bash
# Snakemake as a small job of the cluster itself, for sites that end long login sessions:
#   make submit CONFIG=my.yaml
# Before its own time limit it has Slurm run it again, and resumes where it was. Sites that want a partition or
# an account get them from SBATCH_PARTITION and SBATCH_ACCOUNT, which sbatch reads.
#SBATCH --job-name=retclip-tune
#SBATCH --cpus-per-task=1
#SBATCH --mem=4000
#SBATCH --time=1-00:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=results/slurm_logs/controller-%j.txt
# Usage: controller.sh REPOSITORY ARGUMENTS_OF_SNAKEMAKE...
set -euo pipefail
repository=$1
shift

trap 'echo "the time limit is near: this controller runs again"; scontrol requeue "$SLURM_JOB_ID"' USR1

# What an earlier life left behind: its lock, and jobs that a new snakemake knows nothing of. A cancelled training
# run saves its state first, and its successor resumes from there.
snakemake --snakefile "$repository/Snakefile" --unlock "$@" 2>/dev/null || true
bash "$repository/slurm/cancel_jobs.sh" .

snakemake --profile "$repository/slurm" --workflow-profile none --snakefile "$repository/Snakefile" "$@" &
# a signal ends wait, but not snakemake
until wait $!; do kill -0 $! 2>/dev/null || exit 1; done

"""Snakemake, which asks Slurm every two seconds. Its plugin asks after three at least, and then ten seconds later each
time that there is no news: most of what these tests would wait for, and nothing that they are about."""

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

SECONDS = 2
Executor.next_seconds_between_status_checks = property(lambda executor: SECONDS, lambda executor, value: None)

if __name__ == "__main__":
    main()

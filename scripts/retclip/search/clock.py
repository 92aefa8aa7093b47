"""How long the training runs of a run take by the clock on this machine's CPU: processes x threads, in rounds."""

import math
from collections import Counter
from typing import NamedTuple

from retclip.core.config import Config
from retclip.search.forecast import HEADS_PER_SECOND, Stage, trains_heads_alone
from retclip.search.jobs import jobs_of
from retclip.search.threads import at_once, may_have_threads, speed_up, threads_of_each


class Wave(NamedTuple):
    """Training runs of a stage of which none waits for another. times: how many such there are, one after the other.
    processes: how many train at a time, with so many threads each."""

    runs: int
    times: int
    processes: int
    threads: int

    @property
    def rounds(self) -> int:
        """How often the last of them waits for as long as a training run takes."""
        return self.times * math.ceil(self.runs / self.processes)


def waves_of(config: Config, cores: int) -> dict[str, list[Wave]]:
    """Stage -> its training runs on so many cores."""
    jobs, several = jobs_of(config), may_have_threads(config)
    sizes = at_once(jobs)
    found: dict[str, list[Wave]] = {}
    for stage, trials in jobs.training_runs.items():
        found[stage] = []
        for runs, members in Counter(sizes[trial] for trial in trials).items():
            threads = threads_of_each(cores, runs) if several else 1
            found[stage].append(Wave(runs, members // runs, min(runs, cores // threads), threads))
    return found


def clock_seconds(
    config: Config, waves: dict[str, list[Wave]], stages: list[Stage], samples_per_second: float | None, start: float
) -> float | None:
    """Of all training runs that have not finished; None where nobody knows the speed.

    samples_per_second: of one thread, as measured; None before that. start: seconds that each takes beside its steps.
    """
    rate = samples_per_second or (HEADS_PER_SECOND if trains_heads_alone(config) else None)
    if rate is None:
        return None
    total = 0.0
    for stage in stages:
        steps = stage.samples_shown / stage.training_runs / rate
        whole = sum(wave.rounds * (start + steps / speed_up(wave.threads)) for wave in waves[stage.name])
        total += whole * (1 - stage.finished / stage.training_runs)
    return total

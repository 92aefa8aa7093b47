"""Processes x threads of training runs on this machine's CPU: a thread each while there are as many as cores; where
fewer can run at once, the cores that are left are theirs.

A process for a core is the faster way, and the only one whose numbers are the same on every machine. So what is over in
a moment, heads from features and tiny encoders, always has one thread.
"""

from collections import Counter
from typing import Any

from retclip.core.config import Config
from retclip.search.jobs import Jobs, cached_networks
from retclip.search.layout import EncoderTrial, Slot

# Of a training step's time, what threads share; the rest stays one's (Amdahl's law). Measured with two threads, .75 of
# EfficientNet-lite0 and .94 of ViT-B/16 and BERT-base: tests/bench/README.md, threads.
SHARED = 0.86
# So many still gain half of what their cores could; more were never measured.
MOST_THREADS = 8
# Pixels of one eye's images in a step, of up to which a step has one thread: 128 of 64 px are as many as 10 of 224. Of
# the demo's, a second thread adds at most .31 of a core.
SMALL_STEP = 128 * 64**2


def speed_up(threads: int) -> float:
    """How many times faster a training step is than with one thread."""
    return 1 / (1 - SHARED + SHARED / threads)


def may_have_threads(config: Config) -> bool:
    """Whether a training run may have more than one thread: on a CPU, where its steps are large enough."""
    pixels = config["defaults"]["batch_size"] * config["data"]["image_size"] ** 2
    of_heads = cached_networks(config) == {"image", "text"}
    return not config["training"]["gpus"] and not of_heads and pixels > SMALL_STEP


def threads_of_each(cores: int, runs: int) -> int:
    """Of each of so many training runs that can run at once on so many cores."""
    return max(1, min(cores // runs, MOST_THREADS))


def at_once(jobs: Jobs) -> dict[str, int]:
    """Id of a training run -> how many of its stage can run at once, itself among them: they wait for the same."""
    found: dict[str, int] = {}
    for stage in jobs.training_runs:
        waits = {trial: _waits_for(entry) for trial, entry in getattr(jobs, stage).items()}
        alike = Counter(waits.values())
        found |= {trial: alike[place] for trial, place in waits.items()}
    return found


def _waits_for(entry: Any) -> tuple[Any, ...]:
    """The place of a training run in its stage: a bracket's rung, in all text encoders; or none."""
    if isinstance(entry, EncoderTrial):
        return (*_waits_for(entry.slot), entry.confirmation is None)
    return (entry.bracket, entry.rung) if isinstance(entry, Slot) else ()

"""Whatever breaks, a plain rerun ends with the numbers of a run that nothing disturbed, bit for bit on a CPU.

RETCLIP_FAULTS is how many moments each process is killed at.
"""

import os
import random
import shutil
import signal
import time
from contextlib import suppress

import pytest
from reliability.faults import MOMENTS, TRAINED, assert_same, copy_of, die_at_rename, made_by, without_outputs

from retclip.core import slurm

pytestmark = pytest.mark.slow
RULES = ("make_demo_data", "make_demo_encoder", "build_lmdb", "audit_data", "find_lr", "plan_phase1_trial",
         "cache_features", "train_phase1_trial", "train_final", "rank_phase1", "select_phase1", "propose_bracket",
         "evaluate_final", "evaluate_initial", "score_reference_models", "score_prompts", "collect_examples",
         "recommend_encoder", "build_report")  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_killed_at_any_moment(rule, jobs, small_run, entries, injected, tmp_path):
    name, flags = jobs[rule]
    if rule in TRAINED:
        flags = [*flags, "--save-seconds", "0"]
    folder = copy_of(small_run, tmp_path / "whole")
    without_outputs(rule, flags, folder)
    started = time.monotonic()
    code, log = entries.run(name, flags, folder)
    seconds = time.monotonic() - started
    assert code == 0, log
    if rule == "cache_features":  # the small run freezes nothing
        small_run = folder
    assert made_by(flags, folder)
    assert_same(flags, folder, small_run)
    moments = random.Random(rule)
    for number, sent in ((number, sent) for number in range(MOMENTS) for sent in (signal.SIGKILL, signal.SIGTERM)):
        torn = tmp_path / f"torn-{number}-{sent}"
        moment = moments.uniform(0, seconds)
        while not killed_at(moment, sent, name, flags, rule, copy_of(small_run, torn), entries):
            # it was done already, which says nothing of a kill: once more, earlier
            shutil.rmtree(torn)
            moment /= 2
            assert moment > 1e-4, "no signal ends it"
        with injected("kill -9" if sent == signal.SIGKILL else "SIGTERM", name):
            code, log = entries.run(name, flags, torn)
            assert code == 0, log
            assert_same(flags, torn, small_run)
        shutil.rmtree(torn)


def killed_at(moment, sent, name, flags, rule, folder, entries) -> bool:
    """Starts the job in `folder`, sends the signal after `moment` seconds, and tells whether that is what ended it."""
    without_outputs(rule, flags, folder)
    process = entries.start(name, flags, folder)
    process.join(moment)
    with suppress(ProcessLookupError):  # it may end just now
        os.killpg(process.pid, sent) if os.getpgid(process.pid) == process.pid else os.kill(process.pid, sent)
    process.join()
    # a training run that was warned saves its state and says so by its status
    return process.exitcode == -sent or (sent == signal.SIGTERM and process.exitcode == slurm.STOPPED)


@pytest.mark.parametrize("rule", ["build_lmdb", "train_final", "evaluate_final", "build_report"])
def test_killed_around_each_rename(rule, jobs, small_run, entries, injected, tmp_path):
    """Between any two files that get their names; all such moments where RETCLIP_FAULTS allows."""
    name, flags = jobs[rule]
    moments = [(count, after) for count in range(1, 30) for after in (False, True)]
    random.Random(rule).shuffle(moments)
    done = 0
    for count, after in moments:
        torn = copy_of(small_run, tmp_path / f"torn-{count}-{after}")
        without_outputs(rule, flags, torn)
        code, log = entries.run(name, flags, torn, (die_at_rename, (count, after)))
        if code == 0:
            continue  # it renames fewer files than that
        with injected("kill -9 at a rename", name):
            assert code == -signal.SIGKILL, log
            code, log = entries.run(name, flags, torn)
            assert code == 0, log
            assert_same(flags, torn, small_run)
        shutil.rmtree(torn)
        done += 1
        if done >= 2 * MOMENTS:
            break
    assert done

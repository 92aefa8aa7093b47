"""How many threads a training run on a CPU has, against tables worked out by hand."""

import pytest
from running import merged

from retclip.core.config import drop_nulls
from retclip.core.io import write_json
from retclip.search.clock import clock_seconds, waves_of
from retclip.search.forecast import Stage
from retclip.search.jobs import jobs_of
from retclip.search.plan_text import clock_lines
from retclip.search.speed import known_speed
from retclip.search.threads import MOST_THREADS, at_once, may_have_threads, speed_up, threads_of_each

ON_A_CPU = {"device": "cpu", "gpus": 0}


def of_a_cpu(name: str | None = None, **sections):
    config = drop_nulls(merged(name) if name else merged())
    config["training"] |= ON_A_CPU
    for section, changes in sections.items():
        config[section] |= changes
    return config


@pytest.mark.parametrize(
    ("cores", "runs", "threads"),
    [(1, 1, 1), (2, 17, 1), (8, 17, 1), (8, 8, 1), (8, 5, 1), (8, 4, 2), (8, 1, 8), (64, 17, 3), (64, 20, 3),
     (64, 12, 5), (64, 6, MOST_THREADS), (1000, 1, MOST_THREADS)],
)  # fmt: skip
def test_cores_are_shared_by_the_training_runs_that_wait_for_none(cores, runs, threads):
    assert threads_of_each(cores, runs) == threads
    # never more threads than cores, nor a run that waits because others have several
    assert min(cores, runs) * threads_of_each(cores, runs) <= cores


def test_a_step_that_is_over_at_once_has_one_thread():
    assert may_have_threads(of_a_cpu())
    assert not may_have_threads(of_a_cpu("demo"))
    assert not may_have_threads(of_a_cpu("laptop"))  # heads from features
    assert not may_have_threads(drop_nulls(merged()))  # on a GPU
    # as large a step of smaller images is as large a step
    assert may_have_threads(of_a_cpu("demo", defaults={"batch_size": 256}))
    assert not may_have_threads(of_a_cpu(defaults={"batch_size": 8}))


def test_what_of_a_stage_runs_at_once():
    every = at_once(jobs_of(of_a_cpu()))
    assert (every["baseline"], every["b0r0s00"], every["c0s0"], every["baseline-s2001"]) == (17, 20, 6, 12)
    rungs = at_once(jobs_of(of_a_cpu("demo", phase2={"strategy": "tpe_halving", "brackets": 2})))
    assert [rungs[name] for name in ("b0r0s00", "b0r1s00", "b1r2s00")] == [6, 3, 1]
    in_rounds = {"strategy": "tpe", "trials": 10, "trials_per_round": 4}
    rounds = at_once(jobs_of(of_a_cpu(phase2=in_rounds)))
    assert [rounds[name] for name in ("b0r0s00", "b1r0s03", "b2r0s00")] == [4, 4, 2]
    # two more text encoders have a round and its confirmation each
    others = at_once(jobs_of(of_a_cpu(phase2={**in_rounds, "search_encoders": "all"})))
    assert (others["biobert-b0r0s00"], others["biobert-b2r0s01"], others["biobert-c0s0"]) == (8, 4, 12)


def test_a_speed_of_several_threads_is_known_as_one_threads(tmp_path):
    (tmp_path / "find_lr").mkdir()
    measured = {"samples_per_second": 90.0, "device": "cpu"}
    write_json(tmp_path / "find_lr/suggestion.json", measured)  # of a version that had one
    assert known_speed(of_a_cpu(), tmp_path).samples_per_second == 90
    write_json(tmp_path / "find_lr/suggestion.json", {**measured, "threads": 4})
    assert known_speed(of_a_cpu(), tmp_path).samples_per_second == pytest.approx(90 / speed_up(4))
    write_json(tmp_path / "find_lr/suggestion.json", {**measured, "threads": 4, "device": "cuda"})
    assert known_speed(of_a_cpu(), tmp_path).samples_per_second == 90


def test_threads_gain_less_and_less():
    assert speed_up(1) == 1
    gains = [speed_up(threads + 1) - speed_up(threads) for threads in range(1, MOST_THREADS)]
    assert gains == sorted(gains, reverse=True)
    # the most are still worth half of their cores
    assert speed_up(MOST_THREADS) >= MOST_THREADS / 2


def stage_of(name, training_runs, samples_shown, finished=0):
    return Stage(name, training_runs, (1, 1), (0, 0), samples_shown, {}, 0, 0, 0, 1, frozenset(), finished)


def test_the_clock_of_heads_has_as_many_at_a_time_as_cores():
    """2,000 samples a second and a second to start; each shows 10,000 samples: 6 s on a core."""
    config = of_a_cpu("laptop")
    waves = waves_of(config, cores=8)
    stages = [stage_of("phase1", 17, 170_000), stage_of("phase2", 20, 200_000)]
    assert clock_seconds(config, waves, stages, None, start=1) == pytest.approx(6 * (3 + 3))  # as heads ever train
    # rounds of 8, 8 and 1, and of 8, 8 and 4
    assert clock_seconds(config, waves, stages, 2000, start=1) == pytest.approx(6 * (3 + 3))
    (line,) = clock_lines(8, waves, stages, 36)
    assert line == "on this machine's 8 cores: about 1 min by the clock; Phase 1: 8 at a time; Phase 2: 8 at a time"
    # nothing is to come of Phase 1, and half of Phase 2
    some = [stage_of("phase1", 17, 170_000, 17), stage_of("phase2", 20, 200_000, 10)]
    assert clock_seconds(config, waves, some, 2000, start=1) == pytest.approx(6 * 3 / 2)
    assert clock_lines(8, waves, some, None) == ["on this machine's 8 cores: Phase 2: 8 at a time"]
    assert clock_lines(8, waves, [stages[0]._replace(finished=17)], 0) == []


def test_the_clock_of_rungs_counts_threads():
    """Rungs of 6, 3 and 1 training runs, one after the other, that have 1, 2 and 8 of 8 cores each."""
    shape = {"strategy": "tpe_halving", "brackets": 1}
    config = of_a_cpu("demo", phase2=shape, data={"image_size": 224})
    waves = waves_of(config, cores=8)
    stages = [stage_of("phase2", 10, 100_000)]
    expected = sum(1 + 5 / speed_up(threads) for threads in (1, 2, 8))
    assert clock_seconds(config, waves, stages, 2000, start=1) == pytest.approx(expected)
    assert clock_seconds(config, waves, stages, None, start=1) is None
    assert clock_lines(8, waves, stages, 7200) == [
        "on this machine's 8 cores: about 2.0 h by the clock; Phase 2: 6 at a time"
    ]
    finals = [stage_of("confirm", 2, 1)]
    assert clock_lines(8, waves, finals, None) == [
        "on this machine's 8 cores: confirmations: 2 at a time, 4 threads each"
    ]

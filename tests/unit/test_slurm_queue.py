"""make status on a cluster: what Slurm says of a run's jobs, by trial, and what a failed job's log ends with."""

import os

import pytest

from retclip.core.slurm_queue import queue_lines

RUN_ID = "0b7c1d9e-6a1f-4a53-9d3e-0f6f2a9c1b11"
FORMAT = "{id}|{name}|{state}|{reason}|{used}|{limit}|{comment}|{folder}"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A squeue that prints the lines which a test adds, for a run in tmp_path/run."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/squeue").write_text(f"#!/bin/sh\ncat '{tmp_path}/queue.txt'\n")
    (tmp_path / "bin/squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    (tmp_path / "queue.txt").touch()
    (tmp_path / "run/results/small").mkdir(parents=True)
    (tmp_path / "run/results/slurm_logs").mkdir()

    def add(comment, state="RUNNING", reason="None", folder=tmp_path / "run", name=RUN_ID, number=7):
        line = FORMAT.format(id=number, name=name, state=state, reason=reason, used="12:03", limit="1:00:00",
                             comment=comment, folder=folder)  # fmt: skip
        with (tmp_path / "queue.txt").open("a") as stream:
            stream.write(line + "\n")

    return add


def lines(tmp_path):
    return queue_lines(tmp_path / "run", "small")


def fail(tmp_path, rule, trial, number=9, slurm_says="slurmstepd: error: *** DUE TO TIME LIMIT ***", log=None):
    """What a failed job leaves: Slurm's log, which the plugin removes for one that succeeded, and maybe the rule's."""
    left = tmp_path / "run/results/slurm_logs" / f"rule_{rule}" / trial / f"{number}.log"
    left.parent.mkdir(parents=True)
    left.write_text(slurm_says + "\n")
    if log is not None:
        path = tmp_path / f"run/results/small/logs/{rule}/{trial}.log"
        path.parent.mkdir(parents=True)
        path.write_text(log)
        os.utime(path, (left.stat().st_mtime - 1,) * 2)
    return left


def test_without_slurm_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert lines(tmp_path) == []


def test_a_run_beside_a_slurm_that_it_does_not_use_says_nothing_of_it(slurm, tmp_path):
    (tmp_path / "run/results/slurm_logs").rmdir()
    assert lines(tmp_path) == []
    (tmp_path / "bin/squeue").write_text("#!/bin/sh\nexit 1\n")
    assert lines(tmp_path) == []
    (tmp_path / "bin/squeue").write_text(f"#!/bin/sh\ncat '{tmp_path}/queue.txt'\n")
    slurm("rule_build_lmdb")
    assert lines(tmp_path) == ["Slurm: 1 job running, none pending", "  running: build_lmdb (12:03 of 1:00:00)"]


def test_a_slurm_that_does_not_answer_is_one_sentence(slurm, tmp_path):
    (tmp_path / "bin/squeue").write_text("#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact' >&2\nexit 1\n")
    assert lines(tmp_path) == ["Slurm: squeue cannot be asked: slurm_load_jobs error: Unable to contact"]


def test_running_and_pending_jobs_are_named_by_trial_and_reason(slurm, tmp_path):
    slurm("rule_train_phase1_trial_wildcards_p1-0a1b2c3d")
    slurm("rule_train_phase1_trial_wildcards_baseline", "PENDING", "Priority")
    slurm("rule_train_phase2_trial_wildcards_b0r0s01", "PENDING", "Priority")
    slurm("rule_build_lmdb", "PENDING", "Resources")
    slurm("rule_evaluate_final_wildcards_s1", "COMPLETING")
    assert lines(tmp_path) == [
        "Slurm: 2 jobs running, 3 pending",
        "  running: train_phase1_trial p1-0a1b2c3d (12:03 of 1:00:00), evaluate_final s1 (12:03 of 1:00:00)",
        "  pending (Priority): train_phase1_trial baseline, train_phase2_trial b0r0s01",
        "  pending (Resources): build_lmdb",
    ]


def test_jobs_of_other_runs_and_people_are_left_out(slurm, tmp_path):
    slurm("rule_train_phase1_trial_wildcards_a", folder=tmp_path)
    slurm("mine", name="my_own_job")
    slurm("(null)", name="retclip-tune")  # the controller, which is a job itself
    (tmp_path / "link").symlink_to(tmp_path / "run")
    assert lines(tmp_path) == ["Slurm: no jobs running, none pending"]
    slurm("rule_train_phase1_trial_wildcards_b", folder=tmp_path / "link")
    assert lines(tmp_path)[0] == "Slurm: 1 job running, none pending"


@pytest.mark.parametrize(
    "reason",
    [
        "BadConstraints",
        "PartitionTimeLimit",
        "InvalidQOS",
        "QOSMaxWallDurationPerJobLimit",
        "ReqNodeNotAvail, UnavailableNodes:n1",
    ],
)
def test_a_job_that_waits_for_what_no_node_has_is_named(slurm, tmp_path, reason):
    slurm("rule_train_final_wildcards_pubmedbert-s2001", "PENDING", reason)
    assert f"  cannot start ({reason}): train_final pubmedbert-s2001; " in "\n".join(lines(tmp_path))
    assert "scontrol show job 7" in lines(tmp_path)[1]


def test_a_failed_job_is_named_with_the_last_line_of_its_log(slurm, tmp_path):
    fail(tmp_path, "train_phase1_trial", "p1-0a1b2c3d", log="epoch 1\nerror: the store is truncated\n\n")
    assert lines(tmp_path)[-1] == (
        "  failed: train_phase1_trial p1-0a1b2c3d (job 9): error: the store is truncated "
        "[results/small/logs/train_phase1_trial/p1-0a1b2c3d.log]"
    )


def test_where_the_rule_wrote_nothing_slurms_own_log_is_shown(slurm, tmp_path):
    fail(tmp_path, "train_phase1_trial", "a", log="")
    assert "*** DUE TO TIME LIMIT ***" in lines(tmp_path)[-1]


def test_what_is_tried_again_or_was_made_since_has_not_failed(slurm, tmp_path):
    fail(tmp_path, "train_phase1_trial", "a")
    slurm("rule_train_phase1_trial_wildcards_a", number=10)
    assert lines(tmp_path)[1:] == ["  running: train_phase1_trial a (12:03 of 1:00:00)"]
    fail(tmp_path, "train_phase1_trial", "b")
    made = tmp_path / "run/results/small/phase1/b/metrics.json"
    made.parent.mkdir(parents=True)
    made.touch()
    left = fail(tmp_path, "build_lmdb", "")
    log = tmp_path / "run/results/small/logs/build_lmdb.log"
    log.parent.mkdir()
    log.touch()
    os.utime(log, (left.stat().st_mtime + 60,) * 2)
    assert not any("failed" in line for line in lines(tmp_path))
    # its evaluation is another job
    fail(tmp_path, "evaluate_final", "b")
    assert lines(tmp_path)[-1].startswith("  failed: evaluate_final b (job 9): ")


def test_a_long_list_is_cut(slurm, tmp_path):
    for number in range(30):
        slurm(f"rule_train_phase1_trial_wildcards_t{number:02d}", "PENDING", "Priority", number=number)
    assert lines(tmp_path)[1].endswith("t05 and 24 more")


GROUP = """rule train_phase1_trial:
    log: results/small/logs/train_phase1_trial/baseline.log
Finished jobid: 0 (Rule: train_phase1_trial)
rule train_phase1_trial:
    log: results/small/logs/train_phase1_trial/p1-0.log
{end}
"""
ERROR = """Error in rule train_phase1_trial:
    log: results/small/logs/train_phase1_trial/p1-0.log (check log file(s) for error details)"""


@pytest.mark.parametrize(
    ("end", "last"), [(ERROR, "error: no such file: a.jpg"), ("slurmstepd: error: *** TIME LIMIT ***", "TIME LIMIT")]
)
def test_of_a_group_the_trial_that_failed_is_named(slurm, tmp_path, end, last):
    """Several trials share a job and its log: the one whose error is there, or the last that began."""
    left = tmp_path / "run/results/slurm_logs/group_phase1_train_phase1_trial/9.log"
    left.parent.mkdir(parents=True)
    left.write_text(GROUP.format(end=end))
    if end == ERROR:
        written = tmp_path / "run/results/small/logs/train_phase1_trial/p1-0.log"
        written.parent.mkdir(parents=True)
        written.write_text("reads\nerror: no such file: a.jpg\n")
        os.utime(written, (left.stat().st_mtime - 1,) * 2)
    (line,) = (line for line in lines(tmp_path) if "failed" in line)
    assert "train_phase1_trial p1-0 (job 9)" in line
    assert last in line
    slurm("rule_phase1_train_phase1_trial", number=10)  # it runs again
    assert not any("failed" in line for line in lines(tmp_path))

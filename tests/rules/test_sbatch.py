"""What sbatch gets: the line that comes out for each way in which a site wants to be asked, by a recording stand-in."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml
from recording_slurm import RecordingSlurm, pretend_finished, profile_with
from running import ENVIRONMENT, REPOSITORY, snakemake

pytestmark = pytest.mark.slow

# a training run, an evaluation, and a job that needs no GPU
TARGETS = {
    "train_phase1_trial": "results/demo/phase1/baseline/metrics.json",
    "evaluate_final": "results/demo/final/pubmedbert-s2001/evaluation.json",
    "make_demo_encoder": "resources/text_encoders/demo--biobert",
}
GPU_WORDS = re.compile(r"--(?:gpus|gres|gpus-per-node)=\S+")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A working directory in which all but the targets is there."""
    folder = tmp_path_factory.mktemp("work")
    for gpus in (0, 1, 2):
        (folder / f"{gpus}.yaml").write_text(f"training: {{gpus: {gpus}}}\n")
    pretend_finished(folder, REPOSITORY / "config/demo.yaml")
    return folder


def submitted(work, tmp_path, changes=None, gpus=1, attempts=1, rules=tuple(TARGETS), flags=(), **top):
    """Rule -> the sbatch lines of its job, one an attempt. changes: of default-resources in a copy of slurm/."""
    slurm = RecordingSlurm(tmp_path / f"slurm{gpus}")
    profile = profile_with(tmp_path / f"profile{gpus}", changes or {}, **top)
    done = slurm.submit(work, "--profile", profile, "--configfile", REPOSITORY / "config/demo.yaml",
                        work / f"{gpus}.yaml", "--rerun-triggers", "mtime", "--allowed-rules", *rules, *flags,
                        "--force", "--", *(TARGETS[rule] for rule in rules), attempts=attempts)  # fmt: skip
    found = {}
    for rule, line in slurm.lines():
        found.setdefault(rule, []).append(line)
    assert set(found) == set(rules), done.stdout[-3000:] + done.stderr[-3000:]
    return found


def test_the_whole_line(work, tmp_path):
    assert submitted(work, tmp_path, {"slurm_account": "'lab'"}) == {
        "train_phase1_trial": ["-A lab -p gpu -t 22 --mem 8007 --requeue --cpus-per-task=1 --signal=TERM@120 --gpus=1"],
        "evaluate_final": ["-A lab -p gpu -t 25 --mem 8013 --requeue --cpus-per-task=1 --gpus=1"],
        "make_demo_encoder": ["-A lab -p cpu -t 60 --mem 4000 --requeue --ntasks=1 --cpus-per-task=1"],
    }


def test_frozen_encoders_have_four_processors_of_a_node(work, tmp_path):
    """A node without GPUs; beside a GPU one processor is enough."""
    (tmp_path / "text.yaml").write_text("model: {freeze: text}\n")
    for gpus, processors in ((0, 4), (1, 1)):
        slurm = RecordingSlurm(tmp_path / f"slurm{gpus}")
        slurm.submit(work, "--profile", profile_with(tmp_path / f"profile{gpus}", {}), "--configfile",
                     REPOSITORY / "config/demo.yaml", work / f"{gpus}.yaml", tmp_path / "text.yaml",
                     "--cores", 8, "--rerun-triggers", "mtime", "--allowed-rules", "cache_features", "--force", "--",
                     "results/demo/features/text-pubmedbert.safetensors")  # fmt: skip
        ((rule, line),) = slurm.lines()
        assert rule == "cache_features"
        assert f"--cpus-per-task={processors}" in line


def test_a_training_run_on_a_nodes_cpu_has_one_processor(work, tmp_path):
    """Though its steps are large: how many cores a node has that it may take, nobody knows."""
    (tmp_path / "large.yaml").write_text("defaults: {batch_size: 256}\n")
    slurm = RecordingSlurm(tmp_path / "slurm")
    slurm.submit(work, "--profile", profile_with(tmp_path / "profile", {}), "--configfile",
                 REPOSITORY / "config/demo.yaml", work / "0.yaml", tmp_path / "large.yaml", "--cores", 8,
                 "--rerun-triggers", "mtime", "--allowed-rules", "train_phase1_trial", "--force", "--",
                 TARGETS["train_phase1_trial"])  # fmt: skip
    ((rule, line),) = slurm.lines()
    assert rule == "train_phase1_trial"
    assert "--cpus-per-task=1" in line


TABLE = re.findall(
    r"^\| `([^`]+)` \| (.*?) \| (.*?) \| (.*?) \|$",
    (REPOSITORY / "config/README.md")
    .read_text()
    .partition("<!-- sbatch -->")[2]
    .partition("<!-- end of sbatch -->")[0],
    re.MULTILINE,
)


def test_the_table_names_every_form():
    assert len(TABLE) >= 12
    typed = " ".join(row[0] for row in TABLE)
    for word in ("--gpus=N", "--gpus=a100:N", "--gres=gpu:N", "--gres=gpu:a100:N", "--gpus-per-node", "none",
                 "slurm_account", "gpu_account", "qos", "gpu_qos", "constraint", "gpu_constraint"):  # fmt: skip
        assert word in typed, word


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_what_you_type_is_what_sbatch_gets(work, tmp_path, row):
    """Each row of the table in config/README.md: typed in the profile, recorded with one GPU and with two."""
    ((name, value),) = yaml.safe_load(row[0]).items()
    one, two, without = (re.findall(r"`([^`]+)`", cell) for cell in row[1:])
    # how many GPUs there are, changes the words for GPUs alone
    assert name == "gpu_request" or one == two
    for gpus, expected in ((1, one), (2, two)) if name == "gpu_request" else ((1, one),):
        found = submitted(work, tmp_path, {name: value}, gpus)
        (line,) = found["train_phase1_trial"]
        assert set(expected) <= set(options(line)), line
        # beside the row's own there is what stands in the profile for all GPU jobs, and no second word for GPUs
        shown = [word for word in expected if GPU_WORDS.fullmatch(word)]
        wanted = shown if name == "gpu_request" else [f"--gpus={gpus}"]
        assert GPU_WORDS.findall(line) == wanted
        (evaluation,) = found["evaluate_final"]
        assert len(GPU_WORDS.findall(evaluation)) == len(wanted)
        (cpu,) = found["make_demo_encoder"]
        assert set(without) <= set(options(cpu)), cpu
        assert not GPU_WORDS.search(cpu)
        assert "--signal" not in cpu


def options(line):
    """-p gpu is one, as --qos=long is."""
    return re.findall(r"--\S+|-\w \S+", line)


def test_every_attempt_asks_in_the_same_form(work, tmp_path):
    lines = submitted(work, tmp_path, {"gpu_request": "--gres=gpu:a100:N", "max_runtime": 50}, attempts=3,
                      rules=("train_phase1_trial",))["train_phase1_trial"]  # fmt: skip
    assert [re.search(r"-t (\d+)", line)[1] for line in lines] == ["22", "44", "50"]
    assert [GPU_WORDS.findall(line) for line in lines] == [["--gres=gpu:a100:1"]] * 3


def test_a_word_may_depend_on_the_attempt(work, tmp_path):
    lines = submitted(work, tmp_path, {"gpu_partition": "'long' if attempt > 1 else 'short'"}, attempts=2,
                      rules=("train_phase1_trial",))["train_phase1_trial"]  # fmt: skip
    assert [re.search(r"-p (\w+)", line)[1] for line in lines] == ["short", "long"]


def test_a_check_of_the_gpu_asks_as_a_training_run_does(work, tmp_path):
    slurm = RecordingSlurm(tmp_path / "slurm")
    profile = profile_with(tmp_path / "profile", {"gpu_request": "--gres=gpu:a100:N", "gpu_qos": "short"})
    done = slurm.submit(work, "--profile", profile, "--configfile", REPOSITORY / "config/demo.yaml", work / "1.yaml",
                        "--allowed-rules", "note_time", "check_gpu", "--", "check_gpu")  # fmt: skip
    ((rule, line),) = slurm.lines()
    assert rule == "check_gpu", done.stdout + done.stderr
    assert {"-p gpu", "-t 20", "--gres=gpu:a100:1", "--qos=short"} <= set(options(line)), line
    assert "--signal" not in line


def test_two_gpus_are_of_one_node(work, tmp_path):
    """torchrun starts its processes on one node, and --gpus=2 may mean one GPU on each of two."""
    (line,) = submitted(work, tmp_path, gpus=2, rules=("train_phase1_trial",))["train_phase1_trial"]
    assert {"--nodes=1", "--gpus=2", "--cpus-per-task=2"} <= set(options(line))


def test_training_on_a_cpu_goes_where_data_jobs_go(work, tmp_path):
    found = submitted(work, tmp_path, {"gpu_request": "--gres=gpu:N", "gpu_qos": "gpu", "gpu_constraint": "a100"}, 0)
    for (line,) in found.values():
        assert "-p cpu" in line
        assert "gpu" not in line
        assert "a100" not in line
    assert "--signal=TERM@120" in found["train_phase1_trial"][0]


def test_what_a_site_adds_to_every_job_stays(work, tmp_path):
    found = submitted(work, tmp_path, {"slurm_extra": "'--mail-type=FAIL'", "gpu_request": "--gpus-per-node=N"})
    assert "--mail-type=FAIL --gpus-per-node=1 --signal=TERM@120" in found["train_phase1_trial"][0]
    assert "--mail-type=FAIL" in found["make_demo_encoder"][0]


@pytest.mark.parametrize("request_", ["--gpus=N", "--gres=gpu:a100:N", "--gpus-per-node=N"])
def test_a_group_asks_for_one_gpu_and_for_the_minutes_of_all(work, tmp_path, request_):
    slurm = RecordingSlurm(tmp_path / "slurm")
    profile = profile_with(tmp_path / "profile", {"gpu_request": request_, "max_runtime": 100})
    trials = [f"results/demo/phase1/{name}/metrics.json" for name in phase1(work)[:4]]
    slurm.submit(work, "--profile", profile, "--configfile", REPOSITORY / "config/demo.yaml", work / "1.yaml",
                 "--rerun-triggers", "mtime", "--allowed-rules", "train_phase1_trial", "--groups",
                 "train_phase1_trial=phase1", "--group-components", "phase1=4", "--set-resource-scopes",
                 "at_once=local", "--resources", "at_once=1", "--force", "--", *trials)  # fmt: skip
    ((_, line),) = slurm.lines()
    assert GPU_WORDS.findall(line) == [request_.replace("N", "1")]
    assert "-t 88 " in line
    assert "--mem 8007 " in line


def phase1(work):
    return sorted(path.name for path in (work / "results/demo/phase1").iterdir() if path.is_dir())


def refused(tmp_path, *flags, path=None, dry=True):
    """The sentence with which a run that cannot mean what it says ends, before any job."""
    environment = {"PATH": path} if path else None
    done = snakemake(tmp_path, *(["--dry-run"] if dry else []), "--configfile", REPOSITORY / "config/demo.yaml", *flags,
                     check=False, environment=environment)  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode, said
    assert "Traceback" not in said
    (sentence,) = re.findall(r"^error: (.*)$", said, re.MULTILINE)
    assert len(sentence) <= 300
    return sentence


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["gpu_request=--gres=gpu:a100:1"], ["--gres=gpu:a100:1", "--gres=gpu:a100:N"]),
        (["gpu_request=--gpus=2"], ["--gpus=N"]),
        (["gpu_request=-G N"], ["-G N", "--gpus=N", "--gres=gpu:N", "none"]),
        (["gpu_request=a100"], ["a100", "--gpus=N"]),
        (["gpu_request=--gpus=gpu:N"], ["--gpus=gpu:N", "--gres=gpu:N"]),
        (["gpu_request=--gres=a100:N"], ["--gres=a100:N", "--gres=gpu:a100:N"]),
        (["gpu_request=--gres=gpu:a100-sxm4:N"], ["--gres=gpu:a100-sxm4:N", "--gpus-per-node=a100-sxm4:N"]),
        (["gpu_partiton=gpu"], ["gpu_partiton", "gpu_partition"]),
        (["gres=gpu:1"], ["gres", "gpu_request"]),
        (["gpu=1"], ["gpu", "gpu_request"]),
        (["gpu_model=a100"], ["gpu_model", "gpu_request"]),
        (["slurm_extra='--gpus-per-node=1'"], ["slurm_extra", "gpu_request"]),
        (["stop_request_seconds=soon"], ["stop_request_seconds", "120"]),
    ],
    ids=lambda value: value[0],
)
def test_what_cannot_be_asked_for_is_refused(tmp_path, given, named):
    sentence = refused(tmp_path, "--default-resources", *given)
    assert all(word in sentence for word in named), sentence


def test_a_rule_of_its_own_may_not_lose_its_gpu(tmp_path):
    """slurm_extra of set-resources replaces the rule's, and with it --gpus-per-node."""
    sentence = refused(tmp_path, "--default-resources", "gpu_request=--gpus-per-node=N", "--set-resources",
                       "train_final:slurm_extra='--mail-type=FAIL'")  # fmt: skip
    assert all(word in sentence for word in ("train_final", "slurm_extra", "default-resources"))


GROUPS = ("--groups", "train_phase1_trial=phase1", "--group-components", "phase1=4", "--set-resource-scopes",
          "at_once=local", "--resources", "at_once=1")  # fmt: skip


@pytest.mark.parametrize(
    ("speed", "limit", "gpus", "jobs"),
    [(1000, 1440, 1, 1), (1000, 1440, 0, 1), (5, 1440, 1, 4), (1000, 60, 1, 4)],
    ids=["short", "short, on a CPU", "of twenty minutes", "four do not fit into the partition's time limit"],
)
def test_short_trials_share_a_job(work, tmp_path, speed, limit, gpus, jobs):
    """As the profile stands; a trial of three epochs of 2,000 samples, at so many samples a second."""
    shutil.copytree(work, tmp_path / "work", copy_function=shutil.copy2)
    measured = tmp_path / "work/results/demo/find_lr/suggestion.json"
    times = measured.stat()
    measured.write_text(json.dumps({"samples_per_second": float(speed), "device": "cuda"}))
    os.utime(measured, ns=(times.st_atime_ns, times.st_mtime_ns))
    slurm = RecordingSlurm(tmp_path / "slurm")
    profile = profile_with(tmp_path / "profile", {"max_runtime": limit})
    trials = [f"results/demo/phase1/{name}/metrics.json" for name in phase1(work)[:4]]
    slurm.submit(tmp_path / "work", "--profile", profile, "--configfile", REPOSITORY / "config/demo.yaml",
                 work / f"{gpus}.yaml", "--rerun-triggers", "mtime", "--allowed-rules", "train_phase1_trial", "--force",
                 "--", *trials)  # fmt: skip
    lines = [line for _, line in slurm.lines()]
    assert len(lines) == jobs
    for line in lines:
        assert GPU_WORDS.findall(line) == [f"--gpus={gpus}"] * gpus
        assert f"-t {88 if jobs == 1 else 22} " in line


def test_a_group_that_cannot_fit_is_refused_in_the_dry_run(work, tmp_path):
    # four trials of at least 21 minutes
    sentence = refused(tmp_path, *GROUPS, "--default-resources", "max_runtime=80")
    assert all(word in sentence for word in ("phase1", "84 minutes", "max_runtime", "80", "group-components: phase1=3"))
    # of the data that are built, what a trial sees is known: three epochs, 25 minutes each
    again = ("--rerun-triggers", "mtime", "--allowed-rules", "train_phase1_trial", "--force", "--",
             TARGETS["train_phase1_trial"])  # fmt: skip
    sentence = refused(work, *GROUPS, "--default-resources", "max_runtime=99", *again)
    assert "100 minutes" in sentence
    snakemake(work, "--dry-run", *GROUPS, "--default-resources", "max_runtime=100", "--configfile",
              REPOSITORY / "config/demo.yaml", *again)  # fmt: skip


def test_a_group_never_asks_for_more_than_there_is(work, tmp_path):
    """A retry asks for more time, up to what the partition allows the whole group."""
    slurm = RecordingSlurm(tmp_path / "slurm")
    profile = profile_with(tmp_path / "profile", {"max_runtime": 100})
    trials = [f"results/demo/phase1/{name}/metrics.json" for name in phase1(work)[:4]]
    slurm.submit(work, "--profile", profile, "--configfile", REPOSITORY / "config/demo.yaml", work / "1.yaml",
                 "--rerun-triggers", "mtime", "--allowed-rules", "train_phase1_trial", *GROUPS,
                 "--force", "--", *trials, attempts=3)  # fmt: skip
    assert [re.search(r"-t (\d+)", line)[1] for _, line in slurm.lines()] == ["88", "100", "100"]


def test_trials_of_a_group_on_gpus_of_their_own_run_side_by_side(tmp_path):
    """Without a limit on what runs at once the group asks for four GPUs, and for the minutes of one trial."""
    snakemake(tmp_path, "--dry-run", *GROUPS[:4], "--default-resources", "max_runtime=30", "--configfile",
              REPOSITORY / "config/demo.yaml")  # fmt: skip


def test_without_sacct_one_sentence_says_what_to_do(tmp_path):
    profile = profile_with(tmp_path / "profile", {})
    for number, (without, advice) in enumerate(
        [(("sacct",), ("slurm_account", "exit 1")), (("sacct", "sacctmgr", "sshare"), ("exit 1",))]
    ):
        slurm = RecordingSlurm(tmp_path / f"slurm{number}", without=without)
        work = tmp_path / f"work{number}"
        work.mkdir()
        sentence = refused(work, "--profile", profile, path=slurm.path, dry=False)
        assert all(word in sentence for word in ("no sacct here", *advice)), sentence
        assert not slurm.lines()
        # nothing was begun, and nothing is locked
        assert not list((work / ".snakemake/locks").glob("*"))


def test_with_an_account_sacct_is_not_missed(work, tmp_path):
    slurm = RecordingSlurm(tmp_path / "slurm", without=("sacct",))
    profile = profile_with(tmp_path / "profile", {"slurm_account": "'lab'"})
    slurm.submit(work, "--profile", profile, "--configfile", REPOSITORY / "config/demo.yaml", "--rerun-triggers",
                 "mtime", "--allowed-rules", "make_demo_encoder", "--force", "--",
                 TARGETS["make_demo_encoder"])  # fmt: skip
    assert [rule for rule, _ in slurm.lines()] == ["make_demo_encoder"]


SITE = "executor: slurm\njobs: 1\ndefault-resources: {slurm_account: lab}\n"


@pytest.mark.parametrize("place", ["SNAKEMAKE_PROFILE", "profiles/default"])
def test_a_sites_own_profile_sends_no_demo_to_a_queue(tmp_path, place):
    """make plan and make demo run here, whatever a site's shell or the folder says of Slurm."""
    slurm = RecordingSlurm(tmp_path / "slurm")
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("rules", "scripts", "config", "envs", "slurm", "local", "Snakefile", "Makefile", "requirements.lock",
                 "pyproject.toml"):  # fmt: skip
        (clone / name).symlink_to(REPOSITORY / name)
    profile = tmp_path / "site" if place == "SNAKEMAKE_PROFILE" else clone / place
    profile.mkdir(parents=True)
    (profile / "config.yaml").write_text(SITE)
    environment = {**ENVIRONMENT, "PATH": slurm.path}
    if place == "SNAKEMAKE_PROFILE":
        environment[place] = str(profile)
    command = [shutil.which("make"), "--no-print-directory", "-n", "demo"]
    (line,) = [
        line for line in subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True,
                                        check=True).stdout.splitlines() if "/snakemake " in line
    ]  # fmt: skip
    # the command that make would run, up to the first job alone
    line = line.replace('"$RETCLIP_VENV"/bin/snakemake', f"{sys.executable} -m snakemake")
    assert "RETCLIP" not in line, line
    done = subprocess.run([*shlex.split(line), "--", TARGETS["make_demo_encoder"]], cwd=clone, env=environment,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert not slurm.lines()

"""What goes wrong on clusters, done to a real Slurm; every training run must end with an undisturbed one's numbers."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from running import ENVIRONMENT, REPOSITORY, snakemake
from slurm.lab import SNAKEMAKE, Lab

pytestmark = pytest.mark.slow

# A training of about twenty seconds, so that there is time to disturb it.
LONG = """
training: {gpus: 1}
phase1: {epochs: 60, space: {learning_rate: [1.0e-3], batch_size: [32], warmup_steps: [2]}}
"""
BASELINE = "results/small/phase1/baseline/metrics.json"
TRAINING_RUNS = ("--until", "train_phase1_trial")


@pytest.fixture(scope="module")
def prepared(lab, tmp_path_factory, small_config):
    """A working directory with data and plans, and the flags of its config: only the training runs are left."""
    work = tmp_path_factory.mktemp("prepared")
    (work / "long.yaml").write_text(LONG)
    flags = [*small_config, str(work / "long.yaml")]
    for rule in ("plan_phase1_trial", "audit_data"):
        snakemake(work, *flags, "--until", rule)
    return work, flags


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory):
    """The validation of both training runs, which no one disturbed and no cluster ran."""
    work, flags = _copy(prepared, tmp_path_factory.mktemp("undisturbed"))
    snakemake(work, *flags, "--until", "train_phase1_trial")
    return {trial: metrics["val"] for trial, metrics in _metrics(work).items()}


@pytest.fixture
def run(prepared, tmp_path, lab):
    """The copy that a test disturbs; its snakemake --profile slurm is ended with it, and its jobs."""
    cluster = Run(*_copy(prepared, tmp_path / "work"))
    yield cluster
    if cluster.process is not None and cluster.process.poll() is None:
        cluster.process.kill()
    subprocess.run(["scancel", "--user=root"], check=True)
    _until(lambda: not lab.queue("RUNNING,COMPLETING,PENDING"), 60)


class Run:
    """One working directory, and `snakemake --profile slurm` on its training runs of Phase 1."""

    def __init__(self, work: Path, flags: list[str]) -> None:
        self.work, self.flags = work, flags
        self.process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str, profile: str = "slurm", target: tuple[str, ...] = TRAINING_RUNS) -> None:
        command = [*SNAKEMAKE, "--profile", profile, "--directory", str(self.work), *target, *arguments, *self.flags]
        self.output = (self.work / "snakemake.txt").open("a")
        self.process = subprocess.Popen(
            command, env=ENVIRONMENT, cwd=REPOSITORY, stdout=self.output, stderr=subprocess.STDOUT, text=True
        )

    def training(self) -> None:
        """Returns when both training runs are in their epochs."""
        _until(lambda: len(self.epochs()) >= 2, 90)

    def slow_down(self, lab: Lab) -> None:
        """While its job runs, the training process gets a twentieth of its time; all of it, once Slurm ends the job: it
        has ten seconds then to save its state."""
        for process in self.training_processes():
            with contextlib.suppress(OSError):  # it has ended
                while (process / "cwd").resolve() == self.work.resolve() and lab.queue("RUNNING"):
                    os.kill(int(process.name), signal.SIGSTOP)
                    time.sleep(1.9)
                    os.kill(int(process.name), signal.SIGCONT)
                    time.sleep(0.1)

    def epochs(self) -> set[str]:
        """The trials that are in their epochs, from the first on."""
        logs = self.work.glob("results/small/logs/train_phase1_trial/*.log")
        return {log.stem for log in logs if "epoch 3/" in log.read_text()}

    def training_processes(self) -> list[Path]:
        """This run's in /proc: what python started, or a fork that bears the script's name."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                python, script, *_ = [*(process / "cmdline").read_bytes().split(b"\0"), b""]
                trains = python.endswith(b"python") and script.endswith(b"/train_trial.py")
                fork = (process / "comm").read_text() == "train_trial\n"
                if (trains or fork) and (process / "cwd").resolve() == self.work.resolve():
                    found.append(process)
        return found

    def end(self, code: int = 0) -> str:
        assert self.process is not None
        found = self.process.wait(timeout=400)
        text = (self.work / "snakemake.txt").read_text()
        assert found == code, text[-4000:]
        return text

    def metrics(self) -> dict[str, dict]:
        return _metrics(self.work)

    def site_profile(self, **limits: object) -> str:
        """slurm/config.yaml with other numbers, as a site would have them."""
        profile = yaml.safe_load((REPOSITORY / "slurm/config.yaml").read_text())
        profile["default-resources"]["max_runtime"] = limits["max_runtime"]
        profile["set-resources"] = {"train_phase1_trial": {"slurm_extra": limits["slurm_extra"]}}
        folder = self.work / "site"
        folder.mkdir()
        (folder / "config.yaml").write_text(yaml.safe_dump(profile))
        return str(folder)


def _copy(prepared: tuple[Path, list[str]], target: Path) -> tuple[Path, list[str]]:
    work, flags = prepared
    shutil.copytree(work, target, dirs_exist_ok=True)
    return target, flags


def _metrics(work: Path) -> dict[str, dict]:
    files = work.glob("results/small/phase1/*/metrics.json")
    return {path.parent.name: json.loads(path.read_text()) for path in files}


def _until(true, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def _same(found: dict[str, dict], undisturbed: dict[str, dict]) -> None:
    assert {trial: metrics["val"] for trial, metrics in found.items()} == undisturbed


def test_a_running_trial_is_cancelled(run, lab, undisturbed):
    """Its state was saved when TERM came; the retry resumes from there."""
    run.start()
    run.training()
    victim = lab.queue("RUNNING")[0]
    subprocess.run(["scancel", victim], check=True)
    run.end()
    found = run.metrics()
    _same(found, undisturbed)
    resumed = [metrics for metrics in found.values() if metrics["resumed_from"]]
    assert len(resumed) == 1
    assert resumed[0]["attempts"] == 2
    assert resumed[0]["job"]["job_id"] != victim
    assert resumed[0]["job"]["partition"] == "gpu"
    assert 0 < resumed[0]["lost_seconds"] < 60


def test_trials_that_share_a_job_stop_and_resume(run, lab, undisturbed):
    """Forks of one process, one after the other. Warned, Slurm runs the same job again, however long a checkpoint took;
    out of time, another one runs. Each trial resumes from its own, and what one has finished is not trained again."""
    before = len(lab.events())
    profile = run.site_profile(max_runtime=100, slurm_extra="'--no-kill'")  # no warning but this test's own
    run.start("--groups", "train_phase1_trial=phase1", profile=profile)
    _until(run.epochs, 120)
    (first,) = run.epochs()
    (job,) = lab.queue("RUNNING")
    (process,) = run.training_processes()
    server = process.parent / (process / "stat").read_text().rpartition(")")[2].split()[1]
    assert b"fork_jobs.py" in (server / "cmdline").read_bytes()
    os.kill(int(process.name), signal.SIGSTOP)
    subprocess.run(["scancel", "--signal=TERM", job], check=True)
    time.sleep(5)
    os.kill(int(process.name), signal.SIGCONT)
    _until(lambda: run.epochs() - {first}, 400)
    (second,) = run.epochs() - {first}
    assert run.metrics()[first]["resumed_from"] > 0
    subprocess.run(["scontrol", "update", f"JobId={job}", "TimeLimit=1"], check=True)
    run.slow_down(lab)
    text = run.end()
    found = run.metrics()
    _same(found, undisturbed)
    assert found[second]["resumed_from"] > 0
    assert found[second]["attempts"] == 2
    assert found[first]["job"]["job_id"] == job != found[second]["job"]["job_id"]
    assert job in lab.queue("TIMEOUT")
    assert text.count("has been submitted with SLURM jobid") == 2
    assert [event[2] for event in lab.events()[before:] if event[0] == "start"].count(job) == 2
    _until(lambda: not server.exists(), 20)


def test_a_stop_request_while_it_starts_up(run, lab, undisturbed):
    run.start("--retries", "0")
    _until(lambda: len(list(run.work.glob("results/small/state/*/lock"))) == 2, 60)
    for job in lab.queue("RUNNING"):
        subprocess.run(["scancel", "--signal=TERM", job], check=True)
    run.end()
    found = run.metrics()
    _same(found, undisturbed)
    assert all(metrics["resumed_from"] is None for metrics in found.values())


def test_a_pending_trial_is_cancelled_and_the_node_was_drained(run, lab, undisturbed):
    with lab.drained():
        run.start()
        _until(lambda: len(lab.queue("PENDING")) == 2, 60)
        victim = lab.queue("PENDING")[0]
        subprocess.run(["scancel", victim], check=True)
        _until(lambda: len(lab.queue("PENDING")) == 2 and victim not in lab.queue("PENDING"), 60)
    run.end()
    _same(run.metrics(), undisturbed)


@pytest.mark.parametrize("warning", ["--signal=TERM@15", "--no-kill"])
def test_a_time_limit_in_mid_epoch(run, lab, undisturbed, warning):
    """Warned, the same job runs again and resumes, as often as needed; without warning, a retry resumes.

    A minute is Slurm's shortest limit; it ends a job up to half a minute late, and warns most of a minute early.
    A warning in the very last second, after the training is complete, costs a retry, too, which finds the results.
    """
    profile = run.site_profile(max_runtime=1, slurm_extra=f"'{warning}'")
    before = len(lab.events())
    run.start(profile=profile, target=(BASELINE,))
    _until(run.epochs, 90)
    # however fast this machine is, the training meets the limit
    run.slow_down(lab)
    text = run.end()
    found = run.metrics()["baseline"]
    assert found["val"] == undisturbed["baseline"]
    assert found["resumed_from"] > 1
    submissions = text.count("has been submitted with SLURM jobid")
    if warning.startswith("--signal"):
        started = Counter(job for what, _, job, _, _ in lab.events()[before:] if what == "start")
        assert max(started.values()) > 1
    else:
        assert 1 < found["attempts"] <= submissions


def test_the_controller_is_restarted(run, lab, undisturbed):
    run.start()
    run.training()
    lab.restart_controller()
    run.end()
    found = run.metrics()
    _same(found, undisturbed)
    assert all(metrics["attempts"] == 1 for metrics in found.values())


def test_snakemake_is_killed_and_started_again(run, lab, undisturbed):
    """The jobs that it left behind keep running; the new run waits for them and trains nothing twice."""
    run.start()
    run.training()
    run.process.send_signal(signal.SIGKILL)
    run.process.wait()
    snakemake(run.work, "--unlock", *run.flags)
    run.start()
    run.end()
    found = run.metrics()
    _same(found, undisturbed)
    assert all(metrics["attempts"] == 1 for metrics in found.values())


def test_a_diverged_trial_is_a_result_and_no_job_fails(run, lab):
    plan = run.work / "results/small/phase1/baseline/trial.json"
    trial = json.loads(plan.read_text())
    trial["hyperparameters"] |= {"optimizer": "sgd", "learning_rate": 1e12, "max_grad_norm": 1e12}
    plan.write_text(json.dumps(trial))
    before = len(lab.jobs())
    run.start()
    run.end()
    assert run.metrics()["baseline"]["status"] == "diverged"
    assert {job["JobState"] for job in lab.jobs()[before:]} == {"COMPLETED"}


def test_a_gpu_job_that_sees_no_gpu_fails_at_once(run, lab):
    """The lab's GPUs are make-believe: what Slurm gave, torch does not see."""
    trial = run.work / "results/small/phase1/baseline/trial.json"
    command = ["srun", "--partition=gpu", "--gpus=1", "--mem=4000", sys.executable,
               str(REPOSITORY / "scripts/train_trial.py"), "--trial", str(trial),
               "--data-dir", str(run.work / "results/small/data"),
               "--encoder-dir", str(run.work / "resources/text_encoders/demo--pubmedbert"),
               "--state-dir", str(run.work / "results/small/state"), "--code", "test", "--device", "auto",
               "--output-dir", str(trial.parent)]  # fmt: skip
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "error: Slurm gave this job GPU" in done.stderr
    assert "driver:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_request_that_no_node_can_meet(run, lab):
    """Slurm says so when it is asked; nothing pends for ever."""
    (run.work / "many.yaml").write_text("training: {gpus: 3}\n")
    run.flags = [*run.flags, str(run.work / "many.yaml")]
    run.start("--retries", "0")
    text = run.end(code=1)
    assert "Requested node configuration is not available" in text
    assert not lab.queue("PENDING")


def test_snakemake_as_a_job_that_runs_again_before_its_time_limit(run, lab, undisturbed):
    """make submit: the controller's second life cancels what the first one left, and resumes from saved state."""
    (run.work / "results/slurm_logs").mkdir(parents=True)
    environment = {**ENVIRONMENT, "PATH": f"{Path(sys.executable).parent}:{ENVIRONMENT['PATH']}"}
    command = ["sbatch", "--parsable", "--partition=cpu", "--time=1", "--signal=B:USR1@15",
               str(REPOSITORY / "slurm/controller.sh"), str(REPOSITORY), "--until", "train_phase1_trial",
               "--slurm-init-seconds-before-status-checks", "3", *run.flags]  # fmt: skip
    done = subprocess.run(command, env=environment, cwd=run.work, check=True, capture_output=True, text=True)
    controller = done.stdout.strip()
    log = run.work / f"results/slurm_logs/controller-{controller}.txt"
    _until(lambda: log.exists() and "this controller runs again" in log.read_text(), 90)
    subprocess.run(["scontrol", "update", f"JobId={controller}", "TimeLimit=30"], check=True)
    _until(lambda: controller in lab.queue("COMPLETED"), 240)
    _same(run.metrics(), undisturbed)

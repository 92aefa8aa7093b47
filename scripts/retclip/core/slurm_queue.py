"""What Slurm says of a run's jobs, by rule and trial, and what the log of a failed one ends with."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

# as in slurm/cancel_jobs.sh: the plugin names the jobs of one snakemake by an id of that run
OF_A_RUN = re.compile(r"(.+_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
FIELDS = "%i|%j|%T|%r|%M|%l|%k|%Z"  # a folder may have any character in its name, so it stands last
# Slurm's reasons for which no waiting helps; the others pass
NEVER = re.compile(
    r"BadConstraints|Partition\w*Limit|PartitionConfig|Invalid\w+|\w*MaxWallDurationPerJob\w*|\w*PerJob(Limit)?"
    r"|ReqNodeNotAvail.*|DependencyNeverSatisfied"
)
# what snakemake says of each job that shares a job of Slurm's, and once more of one that failed
OF_GROUP = re.compile(r"^ +log: (\S+\.log)( \(check)?", re.MULTILINE)
RULE_LOGS, SLURM_LOGS = "logs", "results/slurm_logs"  # the second as slurm/config.yaml has it
MOST_NAMED = 6
SECONDS = 30


class Job(NamedTuple):
    """A job in the queue. name: rule and trial."""

    number: str
    name: str
    state: str
    reason: str
    time: str


def queue_lines(folder: Path, run: str) -> list[str]:
    """Jobs of a run that run, wait or failed; none where it uses no Slurm. folder: snakemake's working directory."""
    # what snakemake submits has its logs there, from its submission on
    uses_slurm = (folder / SLURM_LOGS).is_dir()
    command = ["squeue", "--me", "--noheader", f"--format={FIELDS}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError:
        return []
    except subprocess.TimeoutExpired:
        return [f"Slurm: squeue does not answer within {SECONDS} s"] if uses_slurm else []
    if done.returncode:
        return [f"Slurm: squeue cannot be asked: {_last_line(done.stderr)}"] if uses_slurm else []
    jobs = [job for line in done.stdout.splitlines() if (job := _job(line, folder.resolve())) is not None]
    if not jobs and not uses_slurm:
        return []
    pending = [job for job in jobs if job.state == "PENDING"]
    running = [job for job in jobs if job.state != "PENDING"]
    lines = [
        f"Slurm: {len(running) or 'no'} job{'s' * (len(running) != 1)} running, {len(pending) or 'none'} pending",
    ]
    if running:
        lines.append(f"  running: {_listed([f'{job.name} ({job.time})' for job in running])}")
    for reason in dict.fromkeys(job.reason for job in pending):
        waiting = [job for job in pending if job.reason == reason]
        names = _listed([job.name for job in waiting])
        if NEVER.fullmatch(reason):
            lines.append(
                f"  cannot start ({reason}): {names}; waiting will hardly help: scontrol show job {waiting[0].number} "
                "says what it asks for"
            )
        else:
            lines.append(f"  pending ({reason}): {names}")
    return lines + _failed_lines(folder, run, {job.name for job in jobs})


def _job(line: str, folder: Path) -> Job | None:
    """None for a job of another folder, or of a person."""
    number, name, state, reason, used, limit, comment, place = line.split("|", 7)
    if not OF_A_RUN.fullmatch(name) or Path(place).resolve() != folder:
        return None
    rule, _, trial = comment.removeprefix("rule_").partition("_wildcards_")
    return Job(number, f"{rule} {trial}".strip(), state, reason, f"{used} of {limit}")


def _failed_lines(folder: Path, run: str, queued: set[str]) -> list[str]:
    """The plugin removes Slurm's log of a job that succeeded: one that is left is of one that failed or still runs."""
    latest: dict[str, tuple[Path, Path]] = {}
    for log in sorted((folder / SLURM_LOGS).glob("*/**/*.log"), key=lambda path: path.stat().st_mtime):
        kind, _, job = "_".join(log.parent.relative_to(folder / SLURM_LOGS).parts).partition("_")
        if kind == "group" and job not in queued:
            latest |= {" ".join(path.with_suffix("").parts[3:]): (log, path) for path in _failed_in_group(log)}
        elif kind == "rule":
            rule, *trial = log.parent.relative_to(folder / SLURM_LOGS).parts
            rule = rule.removeprefix("rule_")
            written = Path("results", run, RULE_LOGS, "/".join([rule, *trial]) + ".log")
            latest[" ".join([rule, *trial])] = log, written
    lines = []
    for name, (log, relative) in latest.items():
        written = folder / relative
        if name in queued or _is_made_since(folder / "results" / run, name, log, written):
            continue
        shown = next((path for path in (written, log) if path.is_file() and _last_line(path.read_text())), log)
        lines.append(
            f"  failed: {name} (job {log.stem}): {_last_line(shown.read_text())} [{shown.relative_to(folder)}]"
        )
    return lines


def _failed_in_group(log: Path) -> list[Path]:
    """The logs of a group's jobs that failed, and without such of the one that was at work, as Slurm's log has them."""
    named = OF_GROUP.findall(log.read_text())
    return [Path(path) for path, failed in named if failed] or [Path(path) for path, _ in named[-1:]]


def _is_made_since(results: Path, name: str, log: Path, written: Path) -> bool:
    """Whether a later attempt wrote the rule's log, or the trial has its results."""
    later = written.is_file() and written.stat().st_mtime > log.stat().st_mtime + SECONDS
    rule, _, trial = name.partition(" ")
    return later or (rule.startswith("train_") and any(results.glob(f"*/{trial}/metrics.json")))


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _last_line(text: str) -> str:
    """The last one that says something, as far as a terminal shows it."""
    return next((line.strip()[:200] for line in reversed(text.splitlines()) if line.strip()), "")

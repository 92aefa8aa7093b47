# REQUIRED INPUTS: rules/common.smk; the profile's default resources and groups.
#
# OUTPUTS: none. It holds what a job requests of a cluster: GPUs in the site's own words, memory and minutes within the
# site's limits.
#
# STEPS:
#   1. Read what the site says of its jobs, and refuse what cannot be meant.
#   2. Say what a job requests: `requested` for those that train or evaluate, `scale_with_attempt` for the others.
#   3. Say how many threads a training run has.
import functools
import shutil

from snakemake.exceptions import WorkflowError
from snakemake.resources import Resource, Resources
from snakemake.utils import available_cpu_count

from retclip.core.slurm_requests import (
    OF_GPU_JOBS,
    gpu_flags,
    refuse_gpus_for_all,
    refuse_lost_request,
    shared_jobs,
    without_accounts,
)
from retclip.search import requests
from retclip.search.speed import measured_speed
from retclip.search.threads import at_once, may_have_threads, threads_of_each

# --- what the site says ----------------------------------------------------------------------------------------

SAID = Resources.from_mapping(workflow.resource_settings.default_resources or {})


def site_word(name, attempt=1):
    """What default resources say of `name` for this attempt; None where they say nothing."""
    # get() returns a Resource even for a name that it does not have
    if name not in SAID:
        return None
    return SAID[name].evaluate(None, input=[], attempt=attempt, threads=1, rulename="", async_run=None).value


def site_number(name, kind, example):
    """A whole number above 0 of the default resources: MB or minutes of max_mem_mb or max_runtime, which the largest
    node and the partition allow, or seconds. None where the site names none. kind: the resource of Snakemake's that is
    written in the same ways.
    """
    try:
        number = Resource(kind, site_word(name)).value
    except WorkflowError:
        number = 0
    if number is not None and (not isinstance(number, int) or number < 1):
        stop(f"default-resources: {name} is {SAID[name].raw}; give a whole number above 0, or {example}.")
    return number


SITE = {
    "mem_mb": site_number("max_mem_mb", "mem", "a size such as 250G"),
    "runtime": site_number("max_runtime", "runtime", "a time such as 24h"),
}
GPU_REQUEST = site_word("gpu_request")
STOP_REQUEST = site_number("stop_request_seconds", "stop_request_seconds", "leave it out; 120 is usual")

try:
    refuse_gpus_for_all({name: str(SAID[name].raw) for name in SAID})
    if GPU_REQUEST is not None:
        gpu_flags(GPU_REQUEST, 1)
        replaced = workflow.resource_settings.overwrite_resources
        refuse_lost_request(GPU_REQUEST, [rule for rule in replaced if "slurm_extra" in replaced[rule]])
except ValueError as error:
    stop(error)


def account_sentence():
    """What to do where the Slurm plugin cannot ask for an account; None where it can, or where jobs run otherwise."""
    if workflow.executor_plugin.name != "slurm":
        return None
    missing = {name for name in ("sacct", "sacctmgr") if shutil.which(name) is None}
    return without_accounts("slurm_account" in SAID, missing)


# --- groups of jobs --------------------------------------------------------------------------------------------

# only with one of these limited do the jobs of a group run one after the other; without, side by side
ONE_AFTER_THE_OTHER = {"at_once", "gpu"} & set(workflow.global_resources)
BUILT = Path(RESULTS) / "data/fingerprint.json"
COUNTS = None
if BUILT.is_file():
    COUNTS = {name: split["samples"] for name, split in read_json(BUILT)["splits"].items()}
TRAIN_SAMPLES = COUNTS and COUNTS["train"]
# Stages of short training runs. Where some wait for others, those would be in their job.
SPEED = measured_speed(CONFIG, Path(RESULTS))
SHORT = {
    stage
    for stage in TRAINING_RUNS
    if requests.is_short(CONFIG, stage, COUNTS, SPEED) and not JOBS.is_sequential(stage)
}
STAGE_OF = {trial: stage for stage, trials in TRAINING_RUNS.items() for trial in trials}


def shared_group(stage):
    """The group of a stage whose training runs are short, by its own name; None where the profile does not say how
    many share a job, or where so many do not fit into max_runtime."""
    together = workflow.group_settings.group_components.get(stage, 1)
    if stage not in SHORT or together == 1 or not ONE_AFTER_THE_OTHER:
        return None
    return stage if requests.fit_together(CONFIG, stage, together, SITE["runtime"], TRAIN_SAMPLES) else None


def planned_groups():
    """Stage -> how many of its training runs will share a job where slurm/config.yaml is the profile as it stands."""
    try:
        said, longest = shared_jobs(REPOSITORY / "slurm/config.yaml")
        limit = Resource("runtime", longest).value
    except (ValueError, WorkflowError) as error:
        stop(error)
    return {
        stage: together
        for stage, together in said.items()
        if stage in SHORT and requests.fit_together(CONFIG, stage, together, limit, TRAIN_SAMPLES)
    }


# of a rule; where nothing is short, snakemake has no groups to speak of
SHARED_JOB = (lambda wildcards: shared_group(STAGE_OF[wildcards.trial])) if SHORT else None


def rounds(rulename):
    """How many jobs run one after the other where those of a rule do, and 1 where it is in no group.

    Snakemake knows its groups only after it has read the rules.
    """
    groups = workflow.group_settings
    own = groups.overwrite_groups.get(rulename)
    group = own or shared_group(requests.STAGES.get(rulename))
    if group is None or not ONE_AFTER_THE_OTHER:
        return 1
    members = (
        [other for other, name in groups.overwrite_groups.items() if name == group] if own else [rulename]
    )
    return len(members) * groups.group_components.get(group, 1)


@functools.cache
def check_groups():
    """Ends the run, or the dry run, where a group cannot end within max_runtime."""
    if SITE["runtime"] is None or not workflow.is_main_process:
        return
    try:
        for rule, group in workflow.group_settings.overwrite_groups.items():
            requests.refuse_group(CONFIG, rule, group, rounds(rule), SITE["runtime"], TRAIN_SAMPLES)
    except ValueError as error:
        stop(error)


# --- what a job requests -----------------------------------------------------------------------------------------


def planned(path):
    """The JSON that an earlier job writes. Until then snakemake calls a request that needs it TBD."""
    os.stat(path)  # its FileNotFoundError is the one that snakemake knows
    return read_json(path)


def scale_with_attempt(resource, amount):
    """A resource that grows with each attempt up to the site's limit. amount(input) is that of the first."""

    def scaled(wildcards, input, attempt, rulename):
        # what neither a dry run nor the snakemake around a group asks of us but once its groups are known: resources
        check_groups()
        share_forks()
        wanted, limit = amount(input) * attempt, SITE[resource]
        if limit is None:
            return wanted
        # the minutes of a group's jobs add up, and the limit is that of all
        return min(wanted, limit // rounds(rulename) if resource == "runtime" else limit)

    return scaled


def requested(request, gpus=GPUS, trains=False):
    """What a job that trains or evaluates asks for: GPUs, mem_mb, runtime. request(input) -> {mem_mb, runtime}."""
    amounts = {name: scale_with_attempt(name, lambda input, name=name: request(input)[name]) for name in SITE}
    return {**gpu_resources(gpus, trains), **amounts}


def gpu_resources(gpus, trains):
    """GPUs in the site's words, and where jobs with them go; nothing of it for a job without."""
    asked = {"gpu": gpus, **({"nodes": 1} if gpus > 1 else {})}
    if gpus and GPU_REQUEST is not None:
        asked = gpu_flags(GPU_REQUEST, gpus)
    said = {OF_GPU_JOBS[name]: name for name in OF_GPU_JOBS if gpus and name in SAID}
    asked |= {
        resource: lambda wildcards, attempt, name=name: site_word(name, attempt)
        for resource, name in said.items()
    }
    own = [asked.get("slurm_extra"), f"--signal=TERM@{STOP_REQUEST}" if trains and STOP_REQUEST else None]
    if any(own):
        asked["slurm_extra"] = lambda wildcards, attempt: " ".join(
            filter(None, [site_word("slurm_extra", attempt), *own])
        )
    # what a group may limit, whatever the form in which GPUs are asked for
    return {**asked, **({"at_once": 1} if trains and GPU_REQUEST is not None else {})}


# one pass over all samples on one device
EVALUATION_RESOURCES = requested(
    lambda input: requests.of_evaluation(planned(input.fingerprint), DATA["image_size"], GPUS),
    min(1, GPUS),
)

# --- threads of training runs ------------------------------------------------------------------------------------


@functools.cache
def runs_at_once():
    return at_once(JOBS)


def training_threads(alone=False):
    """Of jobs that train; more than one only on this machine's CPU. alone: there is one job, of one process.

    They are no part of a command, and rerun nothing.
    """
    if not may_have_threads(CONFIG):
        return 1 if alone else max(1, GPUS)

    def of_job(wildcards):
        return threads_of_each(cores_here() or 1, 1 if alone else runs_at_once()[wildcards.trial])

    return of_job


def cores_flag(wildcards, input):
    """For the plan: all cores of this machine, whatever the plan itself has; none where they train nothing."""
    return f"--cores {available_cpu_count()}" if workflow.local_exec and not GPUS else ""

# REQUIRED INPUTS: the merged config of Snakefile; the files that it names.
#
# OUTPUTS: none. It holds what every stage shares: the checked config, the jobs of the run, paths, and launch().
#
# STEPS:
#   1. Check the config and derive from it the training runs of all stages (scripts/retclip/search/jobs.py).
#   2. Say where the text encoders, the weights, the features and the data lie.
#   3. Make the shell command of a rule.
import functools
import json
import os
import re
import shlex
import sys
from pathlib import Path

REPOSITORY = Path(workflow.basedir)
SCRIPTS = REPOSITORY / "scripts"
sys.path.insert(0, str(SCRIPTS))

from retclip.core import data_settings, fork_client
from retclip.core.bounded import read_yaml
from retclip.core.code_hash import DECLARATIONS, code_hash
from retclip.core.config import check_config, configured_defaults, external_test, subsets
from retclip.core.fine_tuning import adapts
from retclip.core.io import canonical_json, file_sha256, folder_digest, is_file, read_json, sha256_of
from retclip.core.hub import hub_folder_name
from retclip.core.gpus import cpu_warning
from retclip.core.modes import share_with
from retclip.core.plain_text import printable
from retclip.core.preprocessing import settings_path
from retclip.core.prompts import prompts_hash
from retclip.core.renamed import in_new_words
from retclip.core.source_facts import source_facts
from retclip.core.working_folder import refuse_working_folder, shared_warning
from retclip.search import jobs, layout
from retclip.search.strategies import STRATEGIES


def stop(sentence):
    """Ends the run for a user's mistake: one sentence, no traceback, before any job."""
    print(f"error: {printable(str(sentence))}", file=sys.stderr, flush=True)
    sys.exit(1)


def in_repository(path):
    """A path of the config, or the file of that name which the repository ships, wherever it is run.

    What is no text is left for the schema to refuse.
    """
    return path if not isinstance(path, str) or Path(path).exists() else str(REPOSITORY / path)


# Rules know these two files by their content, and results by the names in the config: a moved clone reruns nothing.
PROMPTS = in_repository(config["evaluation"]["prompts"])
resolved = {
    "evaluation": {**config["evaluation"], "prompts": PROMPTS},
    "data": {**config["data"], "class_map": in_repository(config["data"]["class_map"])},
}
try:
    if workflow.is_main_process:
        for path in workflow.overwrite_configfiles:
            read_yaml(path)  # snakemake has read it, but of a key that stands twice the last alone
    renamed, OLD_WORDS = in_new_words({**config, **resolved})
    CONFIG = check_config(renamed)
    # of what the file says: a comment in it plans nothing again
    PROMPTS_HASH = prompts_hash(PROMPTS)
    JOBS = jobs.jobs_of(CONFIG)
except ValueError as error:
    stop(error)
if workflow.is_main_process:  # jobs read the config again
    for sentence in OLD_WORDS:
        print(f"warning: {sentence}", file=sys.stderr)

CONFIG["evaluation"]["prompts"] = config["evaluation"]["prompts"]
if "class_map" in CONFIG["data"]:
    CONFIG["data"]["class_map"] = config["data"]["class_map"]

RUN = CONFIG["run"]
if workflow.is_main_process:  # before snakemake itself meets what it cannot write, with a traceback
    try:
        refuse_working_folder(Path("results") / RUN)
    except ValueError as error:
        stop(error)
    if unshared := shared_warning():
        print(unshared, file=sys.stderr)
share_with(CONFIG["privacy"].get("shared", "owner"))
DATA = CONFIG["data"]
MODEL = CONFIG["model"]
TRAINING = CONFIG["training"]
METRIC = CONFIG["selection"]["metric"]
STRATEGY = STRATEGIES[CONFIG["phase2"]["strategy"]]
DEFAULTS = configured_defaults(CONFIG)
SEARCH_ENCODER = MODEL["search_encoder"]
# what each training run requests; the profiles `local` and `slurm` say how many there are
GPUS = TRAINING["gpus"]
PHASE1, PHASE2, CONFIRM = JOBS.phase1, JOBS.phase2, JOBS.confirm
ENCODER_TRIALS, FINALS, TRAINING_RUNS = JOBS.encoders, JOBS.final, JOBS.training_runs

RESULTS = f"results/{RUN}"
REPORT = f"{RESULTS}/report/index.html"


# Not a wildcard: snakemake looks up the rule of a file by its path up to the first one, and there may be thousands.
pathvars:
    results=RESULTS,


wildcard_constraints:
    trial="[a-z0-9_]+(-[a-z0-9]+)?",
    encoder="|".join(MODEL["text_encoders"]),
    bracket="[0-9]+",
    rung="[0-9]+",
    external="[a-z][a-z0-9_]*",


# --- where things lie ---------------------------------------------------------------------------------------


def hub_folder(kind, entry):
    """What comes from the hub or another folder has one folder for each source and revision, shared by all runs."""
    return f"resources/{kind}/{hub_folder_name(entry['source'], entry.get('revision', 'main'))}"


def encoder_dir(encoder):
    entry = MODEL["text_encoders"][encoder]
    if entry["source"] == "demo":
        return f"resources/text_encoders/demo--{encoder}"
    return hub_folder("text_encoders", entry)


def image_weights():
    """The file of initial weights, at the run's image size, as a list, empty where training starts from random ones."""
    fitted = {**jobs.of_whole_encoder(MODEL["image_encoder"]), "image_size": DATA["image_size"]}
    given = MODEL["image_encoder"].get("weights") is not None
    return [f"resources/image_encoders/{sha256_of(fitted)[:12]}.safetensors"] if given else []


def image_weights_flag():
    return " ".join(f"--image-weights {path}" for path in image_weights())


# data sets that are only evaluated: name -> their settings, in the words of `data`
EXTERNAL_TESTS = {
    name: external_test(CONFIG, name) for name in CONFIG["evaluation"].get("external_tests", {})
}


def cores_here():
    """The cores that all jobs share; None where a cluster runs them, which is known once jobs are planned."""
    here = workflow.is_main_process and workflow.local_exec
    return workflow.resource_settings.cores or 1 if here else None


# --- running an entry ---------------------------------------------------------------------------------------

# with --sdm conda the rule's own environment has to be found, else the one that runs snakemake
PYTHON = "python" if "conda" in str(workflow.deployment_settings.deployment_method) else sys.executable
FORKS = fork_client.shared_address() or fork_client.new_address()


def jobs_are_forks():
    """Whether jobs are forks of one process, since a start takes longer than many a job: all of a run on this machine
    without GPUs, and those that share a job of a cluster."""
    if workflow.remote_exec:
        return fork_client.shared_address() is not None
    here = workflow.is_main_process and workflow.local_exec and not workflow.dryrun
    return here and GPUS == 0 and PYTHON == sys.executable and fork_client.can_fork()


@functools.cache
def share_forks():
    """Starts what they are forked from where this is the snakemake of a cluster's job that several share; it asks for
    no GPU, so that each fork may. Several GPUs are torchrun's, who starts the processes."""
    several = workflow.remote_exec and not workflow.local_exec and len(workflow.dag_settings.target_jobs) > 1
    if several and GPUS < 2 and PYTHON == sys.executable and fork_client.can_fork():
        fork_client.share_server(FORKS)


def python_of_jobs(wildcards, input):
    return fork_client.python_of_jobs(FORKS) if jobs_are_forks() else PYTHON


def uncompared(value):
    """A param whose change reruns nothing: snakemake compares none that is a function of the input. So whatever of the
    config a job's result hangs on must be no such function."""
    return lambda wildcards, input: value


def runs(entry):
    """The params of a rule that runs scripts/{entry}.py. Its code is compared; where it lies, and by which python it
    is run, is not: so a moved clone or another interpreter reruns nothing."""
    return {
        "code": code_hash(entry),
        "python": python_of_jobs,
        "scripts": uncompared(str(SCRIPTS)),
    }


def class_prompts():
    return {"prompts": PROMPTS_HASH, "prompts_file": uncompared(PROMPTS)}


def launch(entry, *flags, processes=1, shown=False, own_threads=False):
    """The shell command of a rule: scripts/{entry}.py with its flags, its output in the rule's log (and, where it is
    shown, before the user's eyes).

    Several processes, one for each GPU, are torchrun's, on GPUs that are leased for all of them; an entry of one
    process leases its GPU itself. An entry with threads of its own has libraries of one thread.
    """
    command = f"{{params.scripts:q}}/{entry}.py"
    if processes > 1:
        lease = f"{{params.scripts:q}}/lease_gpus.py --gpus {processes} --device {{params.device}} --"
        torchrun = f"-P -m torch.distributed.run --standalone --nproc-per-node {processes}"
        command = f"{lease} {{params.python:q}} {torchrun} {command}"
    one_thread = [f"{name}={value}" for name, value in fork_client.ONE_THREAD.items()]
    variables = ["env", *one_thread] if own_threads else []
    output = "2>&1 | tee {log}" if shown else "> {log} 2>&1"
    return " ".join([*variables, "{params.python:q}", command, *flags, output])

# What every stage shares: the checked config, the ids of all jobs, recipes, code hashes and launch(). No rules.
import json
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.resources import Resource, Resources

REPOSITORY = Path(workflow.basedir)
sys.path.insert(0, str(REPOSITORY / "scripts"))

from retclip.core.code_hash import DECLARATIONS, code_hash
from retclip.core.config import check_config, configured_defaults, external_test
from retclip.core.hyperparameters import HYPERPARAMETERS
from retclip.core.facts import facts
from retclip.core.io import canonical_json, file_sha256, folder_digest, read_json, sha256_of
from retclip.core.hub import hub_folder_name
from retclip.core.gpus import cpu_warning
from retclip.core.prompts import prompts_hash
from retclip.core.source_facts import source_facts
from retclip.search import layout, requests
from retclip.search.space import grid
from retclip.search.strategies import STRATEGIES


def stop(sentence):
    """Ends the run for a user's mistake: one sentence, no traceback, before any job."""
    print(f"error: {sentence}", file=sys.stderr, flush=True)
    sys.exit(1)


def in_repository(path):
    """A path of the config, or the file of that name which the repository ships, wherever it is run.

    What is no text is left for the schema to refuse.
    """
    return path if not isinstance(path, str) or Path(path).exists() else str(REPOSITORY / path)


# Rules know these two files by their content, and results by the names in the config: a moved clone reruns nothing.
PROMPTS, CLASS_MAP = in_repository(config["evaluation"]["prompts"]), in_repository(
    config["data"]["class_map"]
)
try:
    CONFIG = check_config(
        {
            **config,
            "evaluation": {**config["evaluation"], "prompts": PROMPTS},
            "data": {**config["data"], "class_map": CLASS_MAP},
        }
    )
    # of what the file says: a comment in it plans nothing anew
    PROMPTS_HASH = prompts_hash(PROMPTS)
except ValueError as error:
    stop(error)

CONFIG["evaluation"]["prompts"] = config["evaluation"]["prompts"]
if "class_map" in CONFIG["data"]:
    CONFIG["data"]["class_map"] = config["data"]["class_map"]

RUN = CONFIG["run"]
DATA = CONFIG["data"]
MODEL = CONFIG["model"]
TRAINING = CONFIG["training"]
METRIC = CONFIG["selection"]["metric"]
STRATEGY = STRATEGIES[CONFIG["phase2"]["strategy"]]
DEFAULTS = configured_defaults(CONFIG)
SEARCH_ENCODER = MODEL["search_encoder"]
# what each training asks for; the profiles `local` and `slurm` say how many there are
GPUS = TRAINING["gpus"]

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


# --- every job of the run, by id: counts follow from the config alone ---------------------------------------

PHASE1 = {"baseline": {}, **grid(CONFIG["phase1"]["space"])}
try:
    PHASE2 = layout.slots(CONFIG["phase2"])
except ValueError as error:
    stop(error)
# Above the base seed start here confirmations and finals, so that neither shares a training with what was chosen for its
# luck: the best of twenty single trainings is the luckiest one, too.
FRESH_SEED, FINAL_SEED = 1000, 2000
CONFIRM = {
    f"c{rank}s{seed}": {"rank": rank, "candidate": f"c{rank}", "seed": CONFIG["seed"] + FRESH_SEED + seed}
    for rank in range(CONFIG["confirm"]["top_k"])
    for seed in range(CONFIG["confirm"]["seeds"])
}
TUNED = [
    name for name in HYPERPARAMETERS if name in {**CONFIG["phase1"]["space"], **CONFIG["phase2"]["space"]}
]
FACTORS = CONFIG["final"]["learning_rate_factors"]
ENCODER_TRIALS = {
    f"{encoder}-x{position}": {"encoder": encoder, "factor": factor}
    for encoder in MODEL["text_encoders"]
    for position, factor in enumerate(FACTORS)
    if FACTORS != [1.0]
}
FINAL_SEEDS = [CONFIG["seed"] + FINAL_SEED + offset for offset in range(CONFIG["final"]["seeds"])]
FINALS = {
    **{
        f"{encoder}-s{seed}": {"kind": "tuned", "encoder": encoder, "seed": seed}
        for encoder in MODEL["text_encoders"]
        for seed in FINAL_SEEDS
    },
    **{
        f"baseline-s{seed}": {"kind": "baseline", "encoder": SEARCH_ENCODER, "seed": seed}
        for seed in FINAL_SEEDS
    },
}
if CONFIG["controls"]["shuffled_texts"]:
    FINALS[f"control-s{FINAL_SEEDS[0]}"] = {
        "kind": "control",
        "encoder": SEARCH_ENCODER,
        "seed": FINAL_SEEDS[0],
    }
if CONFIG["ablation"]:
    for name in TUNED:
        FINALS[f"ablation_{name}-s{FINAL_SEEDS[0]}"] = {
            "kind": "ablation",
            "encoder": SEARCH_ENCODER,
            "seed": FINAL_SEEDS[0],
            "only": name,
        }

TRAININGS = {
    "phase1": list(PHASE1),
    "phase2": list(PHASE2),
    "confirm": list(CONFIRM),
    "encoders": list(ENCODER_TRIALS),
    "final": list(FINALS),
}


def facts_of(stage, trial):
    """What trial.json, run.json and leaderboards record of a training, so that nobody reads it off its id."""
    if stage == "phase2":
        return PHASE2[trial].facts()
    if stage == "confirm":
        return facts("trial", candidate=CONFIRM[trial]["candidate"])
    if stage == "final":
        return facts(FINALS[trial]["kind"], ablated=FINALS[trial].get("only"))
    return facts("baseline" if PHASE1.get(trial) == {} else "trial")


def encoder_of(stage, trial):
    """The text encoder of a training."""
    entries = {"encoders": ENCODER_TRIALS, "final": FINALS}.get(stage, {})
    return entries[trial]["encoder"] if trial in entries else SEARCH_ENCODER


def epochs_added(stage, trial):
    """How many epochs a training adds: a later rung goes on where the one before it stood still."""
    sections = {"confirm": {**CONFIG["phase2"], **CONFIG["confirm"]}, "encoders": CONFIG["final"]}
    section = sections[stage] if stage in sections else CONFIG[stage]
    if stage != "phase2" or not STRATEGY.has_rungs:
        return section["epochs"]
    rung, ends = PHASE2[trial].rung, CONFIG["phase2"]["rungs"]["epochs"]
    return ends[rung] - (ends[rung - 1] if rung else 0)


# --- recipes: what the config says of one trial, as the JSON that plan_trial reads --------------------------


def recipe(
    identifier,
    phase,
    stage,
    epochs,
    encoder=SEARCH_ENCODER,
    seed=None,
    values=None,
    shuffled=False,
    stop_epoch=None,
    recorded=None,
):
    """All that plan_trial needs to know of the config. epochs: null where the trial's values say. recorded: facts."""
    return canonical_json(
        {
            "id": identifier,
            "phase": phase,
            **(recorded or facts()),
            "text_encoder": encoder,
            "encoder": {
                "revision": None,
                "texts": None,
                "long_texts": MODEL["long_texts"],
                "from_checkpoint": False,
                **MODEL["text_encoders"][encoder],
            },
            "seed": CONFIG["seed"] if seed is None else seed,
            "vision": MODEL["vision"],
            "image_size": DATA["image_size"],
            "selection_metric": METRIC,
            "train_samples": stage.get("train_samples"),
            "val_samples": stage.get("val_samples"),
            "epochs": epochs,
            "stop_epoch": stop_epoch,
            "values": {**DEFAULTS, **(values or {})},
            "shuffled_texts": shuffled,
        }
    )


def stage_epochs(stage):
    """The stage's epochs per trial, or null where its space searches over them."""
    return None if "epochs" in stage.get("space", {}) else stage["epochs"]


# --- Phase 2: a first rung takes its bracket's proposals, a later one what was promoted to it -----------------


def phase2_metrics(trials):
    return [f"{RESULTS}/phase2/{trial}/metrics.json" for trial in trials]


def observed_metrics(bracket):
    """What a bracket may learn from: all before it, and Phase 1 where that trained as much on as many samples."""
    earlier = phase2_metrics(layout.before(PHASE2, bracket))
    budgets = [
        [CONFIG[stage].get(key) for key in ("train_samples", "epochs")] for stage in ("phase1", "phase2")
    ]
    if STRATEGY.learns and budgets[0] == budgets[1]:
        return [f"{RESULTS}/phase1/{trial}/metrics.json" for trial in PHASE1] + earlier
    return earlier


def phase2_source(wildcards):
    """The file whose candidates the slots of a rung take."""
    slot = PHASE2[wildcards.trial]
    if slot.rung == 0:
        return f"{RESULTS}/phase2/bracket-{slot.bracket}.json"
    return f"{RESULTS}/phase2/promoted-b{slot.bracket}r{slot.rung}.json"


# --- final trainings: the winner's values, those of them that an ablation swaps in, or the defaults -----------


def winners_file(wildcards):
    """Where the winner's values stand: each text encoder may have a learning rate of its own."""
    entry = FINALS[wildcards.trial]
    if ENCODER_TRIALS and entry["kind"] in ("tuned", "control"):
        return f"{RESULTS}/encoders/{entry['encoder']}/best.json"
    return f"{RESULTS}/best.json"


def trials_of_encoder(encoder):
    return [trial for trial, entry in ENCODER_TRIALS.items() if entry["encoder"] == encoder]


def plan_final_flags(wildcards, input):
    entry = FINALS[wildcards.trial]
    if entry["kind"] == "baseline":
        return ""
    only = f" --only {entry['only']}" if entry["kind"] == "ablation" else ""
    return f"--candidates {input.best}{only}"


def plan_final_recipe(wildcards):
    entry = FINALS[wildcards.trial]
    taken = {"baseline": [], "ablation": [entry.get("only")]}.get(entry["kind"], TUNED)
    searched = "epochs" in taken and "epochs" in CONFIG["phase2"]["space"]
    return recipe(
        wildcards.trial,
        "final",
        CONFIG["final"],
        epochs=None if searched else CONFIG["final"]["epochs"],
        encoder=entry["encoder"],
        seed=entry["seed"],
        shuffled=entry["kind"] == "control",
        recorded=facts_of("final", wildcards.trial),
    )


# --- a W&B sweep: what a trial of it needs to know of the run -------------------------------------------------


def relative_space():
    """Does the space of Phase 2 mean multiples of Phase 1's best?"""
    return any(
        values == "from_best" or "times_best" in values for values in CONFIG["phase2"]["space"].values()
    )


def sweep_setup(wildcards, input):
    """The JSON that wandb_trial reads, its paths relative to the working directory."""
    values = recipe("sweep", "phase2", CONFIG["phase2"], epochs=stage_epochs(CONFIG["phase2"]))
    return canonical_json(
        {
            "recipe": json.loads(values),
            "prompts": str(PROMPTS),
            "data_dir": str(Path(input.fingerprint).parent),
            "encoder_dir": str(input.encoder),
            "vision_weights": str(input.vision) if input.get("vision") else None,
            "state_dir": f"{RESULTS}/state",
            "folder": f"{RESULTS}/sweep",
            "code": code_hash("train_trial"),
            "device": TRAINING["device"],
            "kept_weights_gb": TRAINING["kept_weights_gb"],
            "project": CONFIG["tracking"]["project"],
            "group": RUN,
            "interpreter": PYTHON,
        }
    )


# --- towers from elsewhere: one folder or file per source and revision, shared by all runs ------------------


def hub_folder(kind, entry):
    return f"resources/{kind}/{hub_folder_name(entry['source'], entry.get('revision', 'main'))}"


def encoder_dir(encoder):
    entry = MODEL["text_encoders"][encoder]
    if entry["source"] == "demo":
        return f"resources/text_encoders/demo--{encoder}"
    return hub_folder("text_encoders", entry)


# A file of features -> the tower that makes them, and the text encoder beside it; the image tower's are the same with each.
TOWERS = {
    "vision": ("vision", SEARCH_ENCODER),
    **{f"text-{encoder}": ("text", encoder) for encoder in MODEL["text_encoders"]},
}


def cached_encoder(wildcards):
    """The text encoder of the model whose features cache_features makes."""
    return TOWERS[wildcards.tower][1]


def vision_weights():
    """The file of initial vision weights as a list, empty where the tower starts from random weights."""
    weights = MODEL["vision"].get("weights")
    if weights is None:
        return []
    return [f"resources/vision/{sha256_of(MODEL['vision'])[:12]}.safetensors"]


# --- frozen towers: what they make of the data is computed once, and shared by all trials ---------------------

# where a search varies what is frozen, some of its trials read them, and the others run the tower
FREEZING = {
    MODEL["freeze"],
    *CONFIG["phase1"]["space"].get("freeze", []),
    *(values if isinstance(values := CONFIG["phase2"]["space"].get("freeze"), list) else []),
}
FROZEN = [tower for tower in ("vision", "text") if FREEZING & {tower, "both"}]
# augmented pictures are new in every step, and random weights are others for every seed
CACHES_VISION = "vision" in FROZEN and not TRAINING["augment"] and bool(vision_weights())
CACHES_TEXT = "text" in FROZEN


def vision_features():
    return [f"{RESULTS}/features/vision.safetensors"] if CACHES_VISION else []


def text_features(encoder):
    return [f"{RESULTS}/features/text-{encoder}.safetensors"] if CACHES_TEXT else []


def features_recipe(encoder):
    """Of trial.json, what both towers need; nothing that differs between trials."""
    entry = json.loads(recipe("", "", {}, epochs=None, encoder=encoder))
    return canonical_json(
        {
            **{name: entry[name] for name in ("text_encoder", "encoder", "vision", "image_size")},
            "seed": 0,
            "hyperparameters": {
                "freeze": "both",
                "temperature": 1.0,
                "learnable_temperature": False,
                "context_length": MODEL["context_length"],
                "precision": TRAINING["precision"],
            },
        }
    )


def features_flags(encoder):
    given = {"--vision-features": vision_features(), "--text-features": text_features(encoder)}
    return " ".join(f"{flag} {shlex.quote(path)}" for flag, paths in given.items() for path in paths)


# --- the data: flags that only some sources know --------------------------------------------------------------

# what encoders of other languages read; no other column of the table is taken for texts
TEXT_COLUMNS = sorted(
    {
        column
        for entry in MODEL["text_encoders"].values()
        for column in entry.get("texts", {}).values()
        if column not in ("text", "text_left", "text_right")
    }
)


def source_flags(data):
    """The flags of build_lmdb that only some sources know, as a parameter of the rule. data: the settings."""

    def flags(wildcards, input):
        patient = data["patient_id"]
        values = {
            "--patient-id": patient if isinstance(patient, str) else f"pattern:{patient['pattern']}",
            "--image-pattern": data.get("image_pattern", source_facts(data["source"]).image_pattern),
            "--report-section": data.get("report_section"),
            "--test-manifest": input.get("test_manifest") or None,
        }
        flags = [f"{flag}={shlex.quote(value)}" for flag, value in values.items() if value is not None]
        return " ".join(flags + (["--text-columns", *TEXT_COLUMNS] if TEXT_COLUMNS else []))

    return flags


# data sets that are only evaluated: name -> their settings, in the words of `data`
EXTERNAL_TESTS = {
    name: external_test(CONFIG, name) for name in CONFIG["evaluation"].get("external_tests", {})
}


def external_class_map(name):
    """The flag of the class map where an external test set's source reads one."""
    data = EXTERNAL_TESTS[name]
    known = source_facts(data["source"]).knows("class_map")
    return f"--class-map {shlex.quote(in_repository(data['class_map']))}" if known else ""


def external_root(name):
    """The folder that the paths of an external test set's table are relative to."""
    data = EXTERNAL_TESTS[name]
    return data["manifest"] if source_facts(data["source"]).holds_images else data["image_root"]


# --- what a job asks the cluster for ------------------------------------------------------------------------


def site_limit(name, kind, example):
    """max_mem_mb or max_runtime of the default resources, in MB or minutes: what the largest node and the partition
    allow. None where the site names none. kind: the resource of Snakemake's that is written in the same ways.
    """
    given = Resources.from_mapping(workflow.resource_settings.default_resources or {})
    # asked for what it does not have, get() gives a Resource all the same
    if name not in given:
        return None
    job = {"input": [], "attempt": 1, "threads": 1, "rulename": "", "async_run": None}
    try:
        limit = Resource(kind, given[name].evaluate(None, **job).value).value
    except WorkflowError:
        limit = None
    if not isinstance(limit, int) or limit < 1:
        stop(f"default-resources: {name} is {given[name].raw}; give a whole number above 0, or {example}.")
    return limit


SITE = {
    "mem_mb": site_limit("max_mem_mb", "mem", "a size such as 250G"),
    "runtime": site_limit("max_runtime", "runtime", "a time such as 24h"),
}


def planned(path):
    """The JSON that an earlier job writes. Until then snakemake calls a request that needs it TBD."""
    os.stat(path)  # its FileNotFoundError is the one that snakemake knows
    return read_json(path)


def asked(resource, amount):
    """A resource that grows with each attempt up to the site's limit. amount(input) is that of the first."""

    def ask(wildcards, input, attempt):
        wanted = amount(input) * attempt
        return wanted if SITE[resource] is None else min(wanted, SITE[resource])

    return ask


def requested(request):
    """gpu, mem_mb and runtime of a job that trains or evaluates. request(input) -> {mem_mb, runtime}."""
    return {
        "gpu": GPUS,
        "mem_mb": asked("mem_mb", lambda input: request(input)["mem_mb"]),
        "runtime": asked("runtime", lambda input: request(input)["runtime"]),
    }


TRAINING_RESOURCES = requested(lambda input: requests.of_training(planned(input.trial), GPUS))


# --- running an entry ---------------------------------------------------------------------------------------


def launch(entry, *flags, processes=1, shown=False):
    """The shell command of a rule: scripts/{entry}.py with one flag a line, its output in the rule's log (and,
    where it is shown, before the user's eyes).

    What a job is told but must not run again for stands in the environment, since snakemake reruns a rule whose text or
    params changed: so a moved clone or interpreter reruns nothing. Several processes, one for each GPU, are torchrun's,
    on GPUs that are leased for all of them; an entry of one process leases its GPU itself.
    """
    python, command = '"$RETCLIP_PYTHON"', f'"$RETCLIP_SCRIPTS"/{entry}.py'
    if processes > 1:
        lease = f'"$RETCLIP_SCRIPTS"/lease_gpus.py --gpus {processes} --device {{params.device}} --'
        torchrun = f"-m torch.distributed.run --standalone --nproc-per-node {processes}"
        command = f"{lease} {python} {torchrun} {command}"
    command = f"{python} {command}"
    return " ".join([command, *flags, "2>&1 | tee {log}" if shown else "> {log} 2>&1"])


SCRIPTS = REPOSITORY / "scripts"


# with --sdm conda the rule's own environment has to be found, else the one that runs snakemake
PYTHON = "python" if "conda" in str(workflow.deployment_settings.deployment_method) else sys.executable

os.environ.update(
    RETCLIP_PYTHON=PYTHON,
    RETCLIP_SCRIPTS=str(SCRIPTS),
    RETCLIP_PROMPTS=PROMPTS,
    RETCLIP_KEPT_WEIGHTS_GB=str(TRAINING["kept_weights_gb"]),
    RETCLIP_GRADIENT_CHECKPOINTING=canonical_json(TRAINING["gradient_checkpointing"]),
)


def vision_flag():
    return " ".join(f"--vision-weights {path}" for path in vision_weights())


# Every plan is made of the config's recipe, the data's counts and the class prompts.
PLAN_FLAGS = (
    "--recipe {params.recipe:q}",
    "--fingerprint {input.fingerprint}",
    '--prompts "$RETCLIP_PROMPTS"',
    "--output {output}",
)

# Every training reads the same files and takes the same flags, whichever phase asks for it.
TRAINING_FLAGS = (
    "--trial {input.trial}",
    f"--data-dir {RESULTS}/data",
    "--encoder-dir {input.encoder:q}",
    "{params.vision}",
    "{params.features}",
    f"--state-dir {RESULTS}/state",
    "--code {params.code}",
    "--device {params.device}",
    # of no consequence for any result, and so no parameter of the rule and no part of its text
    '--kept-weights-gb "$RETCLIP_KEPT_WEIGHTS_GB"',
    '--gradient-checkpointing "$RETCLIP_GRADIENT_CHECKPOINTING"',
    "--output-dir {params.folder}",
)


def of_encoder(value, encoder_of):
    """value(encoder) of a job. A function costs snakemake a tenth of a millisecond for each job, so it is one only
    where jobs differ."""
    if encoder_of is None or not CACHES_TEXT:
        return value(SEARCH_ENCODER)
    return lambda wildcards: value(encoder_of(wildcards))


def training_inputs(stage, encoder_of=None):
    """The trial, the train and val splits, and what frozen towers made of them (encoder_of: wildcards -> name,
    where it is not the search's).

    The audit is no input: it may change without retraining anything.
    """
    return {
        "trial": f"<results>/{stage}/{{trial}}/trial.json",
        "samples": expand("<results>/data/samples_{split}.parquet", split=["train", "val"]),
        "stores": expand("<results>/data/{split}.lmdb", split=["train", "val"]),
        "fingerprint": "<results>/data/fingerprint.json",
        "vision_features": vision_features(),
        "text_features": of_encoder(text_features, encoder_of),
    }


def training_params(encoder_of=None):
    return {
        "code": code_hash("train_trial"),
        "vision": vision_flag(),
        "features": of_encoder(features_flags, encoder_of),
        "folder": lambda wildcards, input: Path(input.trial).parent,
        "device": TRAINING["device"],
    }


def candidate_flags(stage, candidates):
    """What rank_trials reads. candidates: id -> ids of its trainings.

    In few words, since a command of more than 128 KiB cannot be started, and there may be thousands of trials.
    """
    # the order of a grid's values is none of its results
    words = [
        name if trials == [name] else f"{name}={','.join(trials)}"
        for name, trials in sorted(candidates.items())
    ]
    return f"--stage-dir {RESULTS}/{stage} --candidates {' '.join(words)}"

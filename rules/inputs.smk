# REQUIRED INPUTS: rules/common.smk.
#
# OUTPUTS: none. It holds the functions that say what the jobs of a stage read, and with which params they run.
#
# STEPS: in the order of the stages.


# --- what every stage reads ------------------------------------------------------------------------------------


def specification(stage):
    """The trial specification that plan_trial reads, as a parameter of the stage's rule."""
    return lambda wildcards: canonical_json(JOBS.specification(stage, wildcards.trial))


def data_files(*splits):
    """What build_lmdb makes of the splits, as inputs."""
    return {
        "samples": expand("<results>/data/samples_{split}.parquet", split=splits),
        "stores": expand("<results>/data/{split}.lmdb", split=splits),
        "fingerprint": "<results>/data/fingerprint.json",
    }


def metrics_of(stage, trials):
    return [f"{RESULTS}/{stage}/{trial}/metrics.json" for trial in trials]


# --- data ------------------------------------------------------------------------------------------------------


def data_set(wildcards):
    """What the config says of the run's own data, or of an external test set."""
    return EXTERNAL_TESTS[wildcards.external] if "external" in wildcards.keys() else DATA


def image_root(wildcards):
    return data_settings.image_root(data_set(wildcards)) if "external" in wildcards.keys() else IMAGE_ROOT


def table_flags(wildcards, input):
    """The further files of some sources. Not compared: a moved clone's class map builds nothing again."""
    data = data_set(wildcards)
    flags = [f"--test-manifest {shlex.quote(input.test_manifest)}"] if input.test_manifest else []
    if source_facts(data["source"]).knows("class_map"):
        flags.append(f"--class-map {shlex.quote(in_repository(data['class_map']))}")
    return " ".join(flags)


def class_map_digest(wildcards):
    data = data_set(wildcards)
    known = source_facts(data["source"]).knows("class_map")
    return file_sha256(in_repository(data["class_map"])) if known else ""


def images_digest(wildcards):
    """16,000 images cannot be inputs of a rule; the demo's and the hub's are made by one."""
    made = "external" not in wildcards.keys() and (SOURCE.is_drawn or "hub_dataset" in DATA)
    return "" if made else folder_digest(image_root(wildcards))


def build_params(work):
    """work: folder of what a killed build resumes from."""
    return {
        **runs("build_lmdb"),
        "images": images_digest,
        "image_root": image_root,
        # as a function, since snakemake looks for wildcards in texts, and a pattern may hold {patient_id}
        "settings": lambda wildcards: canonical_json(
            data_settings.build_settings(CONFIG, wildcards.get("external"))
        ),
        "class_map": class_map_digest,
        "tables": table_flags,
        "work": work,
        "folder": lambda wildcards, output: Path(output.fingerprint).parent,
    }


def audited_encoders():
    encoders = [f"{encoder}={shlex.quote(encoder_dir(encoder))}" for encoder in MODEL["text_encoders"]]
    return " ".join(f"--encoder {encoder}" for encoder in encoders)


def fetched(wildcards):
    """What the config says of a text encoder that is fetched."""
    return MODEL["text_encoders"][FETCHED_ENCODERS[wildcards.slug]]


def fine_tuning_flags(which, encoder):
    """What an encoder must have where it is fetched. encoder: what the config says of it."""
    layers = [f"--train-last-layers {encoder[key]}" for key in ["train_last_layers"] if key in encoder]
    return " ".join(layers + ["--adapted"] * adapts(CONFIG, which))


# --- training runs and their ranking ---------------------------------------------------------------------------


def training_inputs(stage, encoder_of=None):
    """The trial, the train and val splits, and the features of frozen encoders (encoder_of: wildcards -> name,
    where it is not the search's).

    The audit is no input: it may change without retraining anything.
    """
    return {
        "trial": f"<results>/{stage}/{{trial}}/trial.json",
        **data_files("train", "val"),
        **read_features(encoder_of),
    }


def training_params(encoder_of=None):
    return {
        **runs("train_trial"),
        "image_weights": image_weights_flag(),
        "folder": lambda wildcards, input: Path(input.trial).parent,
        "device": TRAINING["device"],
        # of no consequence for any result
        "kept_weights_gb": uncompared(TRAINING["kept_weights_gb"]),
        "gradient_checkpointing": uncompared(canonical_json(TRAINING["gradient_checkpointing"])),
    }


def candidate_flags(stage, candidates):
    """What rank_trials reads. candidates: id -> ids of its training runs.

    In few words, since a command of more than 128 KiB cannot be started, and there may be thousands of trials.
    """
    # the order of a grid's values is none of its results
    words = [
        name if trials == [name] else f"{name}={','.join(trials)}"
        for name, trials in sorted(candidates.items())
    ]
    return f"--stage-dir {RESULTS}/{stage} --candidates {' '.join(words)}"


# --- Phase 2: a first rung takes its bracket's proposals, a later one what was promoted to it ------------------


def observed_metrics(wildcards):
    """The metrics that a bracket of Phase 2, or of a text encoder's own search, may learn from."""
    observed = JOBS.observed(int(wildcards.bracket), wildcards.get("encoder"))
    return [f"{RESULTS}/{stage}/{trial}/metrics.json" for stage, trial in observed]


def slots_of(wildcards, before=0):
    """The ids of a rung, or of the one so many before it."""
    return JOBS.members(int(wildcards.bracket), int(wildcards.rung) - before, wildcards.get("encoder"))


def source_of(slot, folder):
    """The file whose candidates the slots of a rung take: proposals, and later what was promoted."""
    if slot.rung == 0:
        return f"{folder}/bracket-{slot.bracket}.json"
    return f"{folder}/promoted-b{slot.bracket}r{slot.rung}.json"


def encoder_source(wildcards):
    """As source_of, of a text encoder's own search; its confirmations take its finalists."""
    entry = ENCODER_TRIALS[wildcards.trial]
    folder = f"{RESULTS}/encoders/{entry.encoder}"
    return source_of(entry.slot, folder) if entry.slot else f"{folder}/finalists.json"


# --- final models: the tuned configuration, those of its values that an ablation takes, or the defaults --------


def best_file(wildcards):
    """Where the tuned configuration stands: each text encoder may have one, or a learning rate, of its own."""
    entry = FINALS[wildcards.trial]
    if JOBS.of_encoder(entry.encoder) and entry.kind in ("tuned", "control", "subset"):
        return f"{RESULTS}/encoders/{entry.encoder}/best.json"
    return f"{RESULTS}/best.json"


def candidate_taken(wildcards, input):
    """The tuned configuration, the one value of it that an ablation takes, or nothing for the baseline."""
    entry = FINALS[wildcards.trial]
    if entry.kind == "baseline":
        return ""
    only = f" --only {entry.only}" if entry.kind == "ablation" else ""
    return f"--candidates {input.best}{only}"


def evaluation_params(entry):
    return {
        **runs(entry),
        "data": lambda wildcards, input: Path(input.fingerprint).parent,
        "device": TRAINING["device"],
        "ordered": ORDERED_CLASSES,
    }


# --- report ----------------------------------------------------------------------------------------------------


def figure(name):
    """A figure of the page, for snakemake --report."""
    category, caption = FIGURES[name]["category"], FIGURES[name]["caption"]
    return report(
        f"<results>/report/figures/{name}.svg",
        category=category,
        caption=f"captions/{category.lower()}.rst",
        labels={"figure": caption.format(**UNREAD)},
    )


def templates_digest():
    """A figure's style and a metric's label are no code, but they change the page."""
    templates = sorted(REPOSITORY.glob("scripts/retclip/report/templates/**/*.*"))
    return sha256_of([file_sha256(path) for path in (*templates, *(SCRIPTS / name for name in DECLARATIONS))])


# --- tracking --------------------------------------------------------------------------------------------------


def relative_space():
    """Does the space of Phase 2 mean multiples of Phase 1's best?"""
    return any(
        values == "from_best" or "times_best" in values for values in CONFIG["phase2"]["space"].values()
    )


def sweep_setup(wildcards, input):
    """The JSON that wandb_trial reads, its paths relative to the working directory."""
    phase2 = CONFIG["phase2"]
    epochs = jobs.epochs_of(CONFIG, "phase2")
    return canonical_json(
        {
            "specification": jobs.specification(CONFIG, "sweep", "phase2", phase2, epochs),
            "prompts": str(PROMPTS),
            "data_dir": str(Path(input.fingerprint).parent),
            "encoder_dir": str(input.encoder),
            "image_weights": str(input.image_weights) if input.get("image_weights") else None,
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

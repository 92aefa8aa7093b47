# REQUIRED INPUTS: {stage}/{trial}/metrics.json and history.csv of every training; for a sweep the data, the search
# encoder, the initial weights, and phase1/best.json where the space is relative to it.
#
# OUTPUTS: tracking/{stage}/{trial}.json, and W&B's own folder wandb/; sweep/sweep.yaml and sweep/setup.json, from which
# `wandb agent` calls scripts/wandb_trial.py.
#
# STEPS:
#   1. Log each finished training, where tracking is on.
#   2. Write a sweep, where it is asked for.


# Where these run there is the net; and no training depends on them, so that switching tracking on trains nothing.
localrules:
    track_trial,
    write_sweep,


TRACKING = CONFIG["tracking"]
TRACKED = [
    f"{RESULTS}/tracking/{stage}/{trial}.json"
    for stage, trials in TRAININGS.items()
    for trial in trials
    if TRACKING["wandb"] != "off"
]


TRACK_FLAGS = (
    "--metrics {input.metrics} --history {input.history} --files {input.files}",
    "--mode {params.mode} --project {params.project:q}",
    f"--group {RUN} --folder {RESULTS}",
    "--name {wildcards.stage}/{wildcards.trial} --output {output}",
)
SWEEP_FLAGS = (
    "--setup {params.setup:q} --space {params.space:q} {params.best}",
    "--program {SCRIPTS:q}/wandb_trial.py",
    "--output-sweep {output.sweep} --output-setup {output.setup}",
)


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
            "recipe": jobs.specification(CONFIG, "sweep", "phase2", phase2, epochs),
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


rule track_trial:
    """One finished training as a run of W&B; a server that cannot be reached fails nothing."""
    wildcard_constraints:
        stage="|".join(TRAININGS),
    input:
        metrics="<results>/{stage}/{trial}/metrics.json",
        history="<results>/{stage}/{trial}/history.csv",
        # names of patients stay at home
        files=[] if CONFIG["privacy"]["private"] else "<results>/{stage}/{trial}/val_predictions.parquet",
    output:
        "<results>/tracking/{stage}/{trial}.json",
    params:
        code=code_hash("track_trial"),
        mode=TRACKING["wandb"],
        project=TRACKING["project"],
    log:
        "<results>/logs/track_trial/{stage}/{trial}.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch("track_trial", *TRACK_FLAGS)


rule write_sweep:
    """A sweep file over the guide's five hyperparameters, and all that a trial of it needs to know."""
    input:
        **data_files("train", "val"),
        encoder=encoder_dir(SEARCH_ENCODER),
        vision=vision_weights(),
        best="<results>/phase1/best.json" if relative_space() else [],
    output:
        sweep="<results>/sweep/sweep.yaml",
        setup="<results>/sweep/setup.json",
    params:
        code=code_hash("write_sweep"),
        setup=sweep_setup,
        space=canonical_json(CONFIG["phase2"]["space"]),
        best=lambda wildcards, input: f"--best {input.best}" if input.best else "",
    log:
        "<results>/logs/write_sweep.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch("write_sweep", *SWEEP_FLAGS, shown=True)


rule sweep:
    input:
        f"{RESULTS}/sweep/sweep.yaml",

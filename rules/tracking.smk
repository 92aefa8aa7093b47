# REQUIRED INPUTS: {stage}/{trial}/metrics.json and history.csv of every training run; for a sweep the data, the search
# encoder, the initial weights, and phase1/best.json where the space is relative to it.
#
# OUTPUTS: tracking/{stage}/{trial}.json, and W&B's own folder wandb/; sweep/sweep.yaml and sweep/setup.json, from which
# `wandb agent` calls scripts/wandb_trial.py.
#
# STEPS:
#   1. Log each finished training run, where tracking is on.
#   2. Write a sweep, when requested.


# Where these run there is the net; and no training run depends on them, so that switching tracking on trains nothing.
localrules:
    track_trial,
    write_sweep,


TRACKING = CONFIG["tracking"]
TRACKED = [
    f"{RESULTS}/tracking/{stage}/{trial}.json"
    for stage, trials in TRAINING_RUNS.items()
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
    "--program {params.scripts:q}/wandb_trial.py",
    "--output-sweep {output.sweep} --output-setup {output.setup}",
)


rule track_trial:
    """One finished training run as a run of W&B; a server that cannot be reached fails nothing."""
    wildcard_constraints:
        stage="|".join(TRAINING_RUNS),
    input:
        metrics="<results>/{stage}/{trial}/metrics.json",
        history="<results>/{stage}/{trial}/history.csv",
        # names of patients stay at home
        files=[] if CONFIG["privacy"]["private"] else "<results>/{stage}/{trial}/val_predictions.parquet",
    output:
        "<results>/tracking/{stage}/{trial}.json",
    params:
        **runs("track_trial"),
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
        image_weights=image_weights(),
        best="<results>/phase1/best.json" if relative_space() else [],
    output:
        sweep="<results>/sweep/sweep.yaml",
        setup="<results>/sweep/setup.json",
    params:
        **runs("write_sweep"),
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

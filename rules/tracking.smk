# {stage}/{trial}/metrics.json, history.csv -> tracking/{stage}/{trial}.json and W&B's own folder wandb/
# The space, the data -> sweep/sweep.yaml, sweep/setup.json, from which `wandb agent` calls scripts/wandb_trial.py


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
        launch(
            "track_trial",
            "--metrics {input.metrics}",
            "--history {input.history}",
            "--files {input.files}",
            "--mode {params.mode}",
            "--project {params.project:q}",
            f"--group {RUN}",
            "--name {wildcards.stage}/{wildcards.trial}",
            f"--folder {RESULTS}",
            "--output {output}",
        )


rule write_sweep:
    """A sweep file over the guide's five hyperparameters, and all that a trial of it needs to know."""
    input:
        samples=expand("<results>/data/samples_{split}.parquet", split=["train", "val"]),
        stores=expand("<results>/data/{split}.lmdb", split=["train", "val"]),
        fingerprint="<results>/data/fingerprint.json",
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
        program=str(SCRIPTS / "wandb_trial.py"),
    log:
        "<results>/logs/write_sweep.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "write_sweep",
            "--setup {params.setup:q}",
            "--space {params.space:q}",
            "{params.best}",
            "--program {params.program:q}",
            "--output-sweep {output.sweep}",
            "--output-setup {output.setup}",
            shown=True,
        )


rule sweep:
    input:
        f"{RESULTS}/sweep/sweep.yaml",

# REQUIRED INPUTS: the data, the search encoder, the initial weights, the features of frozen networks, and where the
# grid's learning rates are `auto`, find_lr/suggestion.json.
#
# OUTPUTS: phase1/{trial}/trial.json, metrics.json, history.csv, val_predictions.parquet; phase1/leaderboard.csv,
# phase1/best.json. The rules of later stages that train, rank and select are these once more.
#
# STEPS:
#   1. Plan every point of the grid, and the baseline, at Phase 1's budget.
#   2. Train and validate each.
#   3. Rank them, and select the best by the fixed rule.


localrules:
    plan_phase1_trial,
    rank_phase1,
    select_phase1,


TRAINING_RESOURCES = requested(lambda input: requests.of_training(planned(input.trial), GPUS), trains=True)

# Every plan is made of the trial specification, the data's counts and the class prompts.
PLAN_FLAGS = (
    "--specification {params.specification:q}",
    "--fingerprint {input.fingerprint}",
    "--prompts {params.prompts_file:q} {params.image_weights}",
    "--output {output}",
)

# Every training run reads the same files and takes the same flags, whichever phase requests it.
TRAINING_FLAGS = (
    "--trial {input.trial} --encoder-dir {input.encoder:q}",
    f"--data-dir {RESULTS}/data --state-dir {RESULTS}/state",
    "{params.image_weights}",
    *FEATURES_READ,
    "--code {params.code} --device {params.device}",
    "--kept-weights-gb {params.kept_weights_gb} --gradient-checkpointing {params.gradient_checkpointing}",
    "--output-dir {params.folder}",
)


SELECTION_FLAGS = (
    "--stage {params.stage} --metric {params.metric} --defaults {params.defaults:q}",
    "--output {output}",
)
AUTO_GRID = CONFIG["phase1"]["space"].get("learning_rate") == "auto"


rule plan_phase1_trial:
    """One point of the grid, or the baseline, at Phase 1's budget."""
    input:
        fingerprint="<results>/data/fingerprint.json",
        image_weights=image_weights(),
        # an explicit grid does not wait for the finder, and is not rerun by it
        suggestion="<results>/find_lr/suggestion.json" if AUTO_GRID else [],
    output:
        "<results>/phase1/{trial}/trial.json",
    params:
        **runs("plan_trial"),
        **class_prompts(),
        specification=specification("phase1"),
        image_weights=image_weights_flag(),
        suggestion=lambda wildcards, input: f"--lr-finder {input.suggestion}" if AUTO_GRID else "",
    log:
        "<results>/logs/plan_phase1_trial/{trial}.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch("plan_trial", *PLAN_FLAGS, "{params.suggestion}")


rule train_phase1_trial:
    """One training run; resumes from its state, and ends at once where that is already complete."""
    input:
        **training_inputs("phase1"),
        encoder=encoder_dir(SEARCH_ENCODER),
        image_weights=image_weights(),
    output:
        metrics="<results>/phase1/{trial}/metrics.json",
        history="<results>/phase1/{trial}/history.csv",
        predictions="<results>/phase1/{trial}/val_predictions.parquet",
    params:
        **training_params(),
    log:
        "<results>/logs/train_phase1_trial/{trial}.log",
    benchmark:
        "<results>/benchmarks/train_phase1_trial/{trial}.tsv"
    group:
        SHARED_JOB
    threads: training_threads()
    resources:
        **TRAINING_RESOURCES,
    conda:
        "../envs/train.yaml"
    shell:
        launch("train_trial", *TRAINING_FLAGS, processes=GPUS)


rule rank_phase1:
    """All trials of the grid in one table, best first."""
    input:
        metrics=expand("<results>/phase1/{trial}/metrics.json", trial=PHASE1),
        predictions=expand("<results>/phase1/{trial}/val_predictions.parquet", trial=PHASE1),
    output:
        "<results>/phase1/leaderboard.csv",
    params:
        **runs("rank_trials"),
        candidates=candidate_flags("phase1", {trial: [trial] for trial in PHASE1}),
        metric=METRIC,
    log:
        "<results>/logs/rank_phase1.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch("rank_trials", "{params.candidates}", "--metric {params.metric}", "--output {output}")


rule select_phase1:
    """The best of the grid by the fixed rule: what Phase 2 searches around."""
    input:
        "<results>/phase1/leaderboard.csv",
    output:
        "<results>/phase1/best.json",
    params:
        **runs("select_trial"),
        stage="phase1",
        metric=METRIC,
        defaults=canonical_json(DEFAULTS),
    log:
        "<results>/logs/select_phase1.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch("select_trial", "--leaderboard {input}", *SELECTION_FLAGS)

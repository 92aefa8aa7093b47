# REQUIRED INPUTS: the data, the search encoder, the initial weights, the features of frozen networks, and where the
# grid's learning rates are `auto`, find_lr/suggestion.json.
#
# OUTPUTS: phase1/{trial}/trial.json, metrics.json, history.csv, val_predictions.parquet; phase1/leaderboard.csv,
# phase1/best.json. The rules of later stages that train, rank and select are these once more.
#
# STEPS:
#   1. Plan every point of the grid, and the default config, at Phase 1's budget.
#   2. Train and validate each.
#   3. Rank them, and select the best by the fixed rule.


localrules:
    plan_phase1_trial,
    rank_phase1,
    select_phase1,


TRAINING_RESOURCES = requested(lambda input: requests.of_training(planned(input.trial), GPUS))

# Every plan is made of the trial specification, the data's counts and the class prompts.
PLAN_FLAGS = (
    "--recipe {params.specification:q}",
    "--fingerprint {input.fingerprint}",
    "--prompts {PROMPTS:q}",
    "--output {output}",
)

# Every training reads the same files and takes the same flags, whichever phase asks for it.
TRAINING_FLAGS = (
    "--trial {input.trial} --encoder-dir {input.encoder:q}",
    f"--data-dir {RESULTS}/data --state-dir {RESULTS}/state",
    "{params.vision} {params.features}",
    "--code {params.code} --device {params.device}",
    "--kept-weights-gb {KEPT_WEIGHTS_GB} --gradient-checkpointing {GRADIENT_CHECKPOINTING}",
    "--output-dir {params.folder}",
)


def of_encoder(value, encoder_of):
    """value(encoder) of a job. A function costs snakemake a tenth of a millisecond for each job, so it is one only
    where jobs differ."""
    if encoder_of is None or "text" not in CACHED:
        return value(SEARCH_ENCODER)
    return lambda wildcards: value(encoder_of(wildcards))


def training_inputs(stage, encoder_of=None):
    """The trial, the train and val splits, and the features of frozen networks (encoder_of: wildcards -> name,
    where it is not the search's).

    The audit is no input: it may change without retraining anything.
    """
    return {
        "trial": f"<results>/{stage}/{{trial}}/trial.json",
        **data_files("train", "val"),
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


SELECTION_FLAGS = (
    "--stage {params.stage} --metric {params.metric} --defaults {params.defaults:q}",
    "--output {output}",
)
AUTO_GRID = CONFIG["phase1"]["space"].get("learning_rate") == "auto"


rule plan_phase1_trial:
    """One point of the grid, or the default config, at Phase 1's budget."""
    input:
        fingerprint="<results>/data/fingerprint.json",
        # an explicit grid does not wait for the finder, and is not rerun by it
        suggestion="<results>/find_lr/suggestion.json" if AUTO_GRID else [],
    output:
        "<results>/phase1/{trial}/trial.json",
    params:
        code=code_hash("plan_trial"),
        prompts=PROMPTS_HASH,
        specification=specification("phase1"),
        suggestion=lambda wildcards, input: f"--lr-finder {input.suggestion}" if AUTO_GRID else "",
    log:
        "<results>/logs/plan_phase1_trial/{trial}.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch("plan_trial", *PLAN_FLAGS, "{params.suggestion}")


rule train_phase1_trial:
    """One training; resumes from its state, and ends at once where that is already complete."""
    input:
        **training_inputs("phase1"),
        encoder=encoder_dir(SEARCH_ENCODER),
        vision=vision_weights(),
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
    threads: max(1, GPUS)
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
        code=code_hash("rank_trials"),
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
        code=code_hash("select_trial"),
        stage="phase1",
        metric=METRIC,
        defaults=canonical_json(DEFAULTS),
    log:
        "<results>/logs/select_phase1.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch("select_trial", "--leaderboard {input}", *SELECTION_FLAGS)

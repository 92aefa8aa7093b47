# REQUIRED INPUTS: best.json, the data, all text encoders, the initial weights, the features of frozen networks.
#
# OUTPUTS: encoders/{trial}/ as in Phase 1; encoders/{encoder}/leaderboard.csv and best.json, the configuration of that
# text encoder. Nothing, where each text encoder takes the tuned configuration as it is.
#
# STEPS:
#   1. Plan multiples of the tuned learning rate with each text encoder; or a search (rules/encoder_searches.smk).
#   2. Train and validate them, rank them, and select the best.


localrules:
    plan_encoder_trial,
    rank_encoder,
    select_encoder,


use rule train_phase1_trial as train_encoder_trial with:
    input:
        **training_inputs("encoders", lambda wildcards: ENCODER_TRIALS[wildcards.trial].encoder),
        encoder=lambda wildcards: encoder_dir(ENCODER_TRIALS[wildcards.trial].encoder),
        image_weights=image_weights(),
    output:
        metrics="<results>/encoders/{trial}/metrics.json",
        history="<results>/encoders/{trial}/history.csv",
        predictions="<results>/encoders/{trial}/val_predictions.parquet",
    params:
        **training_params(lambda wildcards: ENCODER_TRIALS[wildcards.trial].encoder),
    log:
        "<results>/logs/train_encoder_trial/{trial}.log",
    benchmark:
        "<results>/benchmarks/train_encoder_trial/{trial}.tsv"


use rule rank_phase1 as rank_encoder with:
    input:
        lambda wildcards: expand(
            "<results>/encoders/{trial}/{file}",
            trial=JOBS.ranked_of(wildcards.encoder),
            file=["metrics.json", "val_predictions.parquet"],
        ),
    output:
        "<results>/encoders/{encoder}/leaderboard.csv",
    params:
        **runs("rank_trials"),
        candidates=lambda wildcards: candidate_flags(
            "encoders", {trial: [trial] for trial in JOBS.ranked_of(wildcards.encoder)}
        ),
        metric=METRIC,
    log:
        "<results>/logs/rank_encoder/{encoder}.log",


if not JOBS.searched_encoders:

    rule plan_encoder_trial:
        """The tuned configuration with one of the text encoders, at a multiple of its learning rate."""
        input:
            fingerprint="<results>/data/fingerprint.json",
            image_weights=image_weights(),
            best="<results>/best.json",
        output:
            "<results>/encoders/{trial}/trial.json",
        params:
            **runs("plan_trial"),
            **class_prompts(),
            specification=specification("encoders"),
            image_weights=image_weights_flag(),
            factor=lambda wildcards: ENCODER_TRIALS[wildcards.trial].factor,
        log:
            "<results>/logs/plan_encoder_trial/{trial}.log",
        conda:
            "../envs/train.yaml"
        shell:
            launch(
                "plan_trial",
                *PLAN_FLAGS,
                "--candidates {input.best} --learning-rate-factor {params.factor}",
            )

    use rule select_phase1 as select_encoder with:
        input:
            "<results>/encoders/{encoder}/leaderboard.csv",
        output:
            "<results>/encoders/{encoder}/best.json",
        params:
            **runs("select_trial"),
            stage="encoders",
            metric=METRIC,
            defaults=canonical_json(DEFAULTS),
        log:
            "<results>/logs/select_encoder/{encoder}.log",

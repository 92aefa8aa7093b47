# REQUIRED INPUTS: phase1/best.json, the data, all text encoders, the initial weights.
#
# OUTPUTS: of each text encoder but the search's, where it has a search of its own: encoders/{trial}/trial.json;
# encoders/{encoder}/bracket-{bracket}.json, promoted-b{bracket}r{rung}.json, finalists.json, confirm.csv and best.json.
#
# STEPS: those of Phase 2 once more, each by its rule; rules/encoders.smk trains and ranks.
#   1. Propose, plan and promote the slots of the search.
#   2. Select its finalists, rank their fresh seeds, and select the configuration of this text encoder.
if JOBS.searched_encoders:

    localrules:
        propose_encoder_bracket,
        promote_encoder_rung,
        select_encoder_finalists,
        rank_encoder_confirm,

    use rule propose_bracket as propose_encoder_bracket with:
        output:
            "<results>/encoders/{encoder}/bracket-{bracket}.json",
        log:
            "<results>/logs/propose_encoder_bracket/{encoder}-{bracket}.log",

    use rule promote_rung as promote_encoder_rung with:
        input:
            lambda wildcards: metrics_of("encoders", slots_of(wildcards, before=1)),
        output:
            "<results>/encoders/{encoder}/promoted-b{bracket}r{rung}.json",
        log:
            "<results>/logs/promote_encoder_rung/{encoder}-b{bracket}r{rung}.log",

    use rule plan_phase2_trial as plan_encoder_trial with:
        input:
            fingerprint="<results>/data/fingerprint.json",
            image_weights=image_weights(),
            candidates=encoder_source,
        output:
            "<results>/encoders/{trial}/trial.json",
        params:
            specification=specification("encoders"),
            slot=lambda wildcards: ENCODER_TRIALS[wildcards.trial].place,
        log:
            "<results>/logs/plan_encoder_trial/{trial}.log",

    use rule select_phase2 as select_encoder_finalists with:
        input:
            leaderboard="<results>/encoders/{encoder}/leaderboard.csv",
            bracket="<results>/encoders/{encoder}/bracket-0.json",
            # of another text encoder; how far it tells of this one, the model fits
            earlier="<results>/phase1/leaderboard.csv",
        output:
            "<results>/encoders/{encoder}/finalists.json",
        params:
            stage="encoders",
        log:
            "<results>/logs/select_encoder_finalists/{encoder}.log",

    use rule rank_phase1 as rank_encoder_confirm with:
        input:
            lambda wildcards: expand(
                "<results>/encoders/{trial}/{file}",
                trial=[trial for seeds in JOBS.finalists_of(wildcards.encoder).values() for trial in seeds],
                file=["metrics.json", "val_predictions.parquet"],
            ),
        output:
            "<results>/encoders/{encoder}/confirm.csv",
        params:
            candidates=lambda wildcards: candidate_flags("encoders", JOBS.finalists_of(wildcards.encoder)),
        log:
            "<results>/logs/rank_encoder_confirm/{encoder}.log",

    use rule select_best as select_encoder with:
        input:
            leaderboard=f"<results>/encoders/{{encoder}}/{'confirm' if CONFIRM else 'leaderboard'}.csv",
            bracket="<results>/encoders/{encoder}/bracket-0.json",
            earlier=[] if CONFIRM else "<results>/phase1/leaderboard.csv",
        output:
            "<results>/encoders/{encoder}/best.json",
        params:
            stage="encoders",
        log:
            "<results>/logs/select_encoder/{encoder}.log",

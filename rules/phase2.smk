# REQUIRED INPUTS: phase1/best.json, the data, the search encoder, the initial weights, the features of frozen networks.
#
# OUTPUTS: phase2/bracket-{bracket}.json, phase2/promoted-b{bracket}r{rung}.json; phase2/{trial}/ as in Phase 1,
# phase2/leaderboard.csv, phase2/best.json, phase2/importances.csv; confirm/{trial}/, confirm/leaderboard.csv;
# best.json, the tuned configuration; on request phase2/optuna_journal.log.
#
# STEPS:
#   1. Propose the configurations of a bracket around the best of Phase 1.
#   2. Plan, train and validate the slots of its first rung; promote the best to the next rung, as long as there is one.
#   3. Rank and select the best of Phase 2, and estimate how much each hyperparameter mattered.
#   4. Train the best few once more with fresh seeds, and select the tuned configuration by those alone.


localrules:
    propose_bracket,
    promote_rung,
    export_study,
    plan_phase2_trial,
    rank_phase2,
    select_phase2,
    estimate_importances,
    plan_confirm_trial,
    rank_confirm,
    select_best,


rule propose_bracket:
    """Draws the configurations of one bracket around the best of Phase 1, knowing what earlier brackets found."""
    input:
        best="<results>/phase1/best.json",
        observed=observed_metrics,
    output:
        "<results>/phase2/bracket-{bracket}.json",
    params:
        **runs("propose_bracket"),
        space=canonical_json(CONFIG["phase2"]["space"]),
        strategy=CONFIG["phase2"]["strategy"],
        metric=METRIC,
        slots=lambda wildcards: len(layout.members(PHASE2, int(wildcards.bracket), 0)),
        # the same seed in every bracket would propose the same points again
        seed=lambda wildcards: CONFIG["seed"] + int(wildcards.bracket),
        stop="--stop-when-flat" if CONFIG["phase2"]["stop_when_flat"] else "",
    log:
        "<results>/logs/propose_bracket/{bracket}.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "propose_bracket",
            "--best {input.best} --observed {input.observed} --metric {params.metric}",
            "--space {params.space:q} --strategy {params.strategy}",
            "--slots {params.slots} --seed {params.seed} {params.stop} --output {output}",
        )


rule promote_rung:
    """The best of one rung, by validation: they resume from their saved state."""
    input:
        lambda wildcards: metrics_of("phase2", slots_of(wildcards, before=1)),
    output:
        "<results>/phase2/promoted-b{bracket}r{rung}.json",
    params:
        **runs("promote_rung"),
        metric=METRIC,
        slots=lambda wildcards: len(slots_of(wildcards)),
    log:
        "<results>/logs/promote_rung/b{bracket}r{rung}.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "promote_rung",
            "--metrics {input} --metric {params.metric} --slots {params.slots}",
            "--output {output}",
        )


rule plan_phase2_trial:
    """One slot of a rung, on all the data."""
    input:
        fingerprint="<results>/data/fingerprint.json",
        image_weights=image_weights(),
        candidates=lambda wildcards: source_of(PHASE2[wildcards.trial], f"{RESULTS}/phase2"),
    output:
        "<results>/phase2/{trial}/trial.json",
    params:
        **runs("plan_trial"),
        **class_prompts(),
        specification=specification("phase2"),
        image_weights=image_weights_flag(),
        slot=lambda wildcards: PHASE2[wildcards.trial].slot,
    log:
        "<results>/logs/plan_phase2_trial/{trial}.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "plan_trial",
            *PLAN_FLAGS,
            "--candidates {input.candidates} --slot {params.slot}",
        )


use rule train_phase1_trial as train_phase2_trial with:
    input:
        **training_inputs("phase2"),
        encoder=encoder_dir(SEARCH_ENCODER),
        image_weights=image_weights(),
    output:
        metrics="<results>/phase2/{trial}/metrics.json",
        history="<results>/phase2/{trial}/history.csv",
        predictions="<results>/phase2/{trial}/val_predictions.parquet",
    log:
        "<results>/logs/train_phase2_trial/{trial}.log",
    benchmark:
        "<results>/benchmarks/train_phase2_trial/{trial}.tsv"


use rule rank_phase1 as rank_phase2 with:
    input:
        metrics=expand("<results>/phase2/{trial}/metrics.json", trial=PHASE2),
        predictions=expand("<results>/phase2/{trial}/val_predictions.parquet", trial=PHASE2),
    output:
        "<results>/phase2/leaderboard.csv",
    params:
        **runs("rank_trials"),
        candidates=candidate_flags("phase2", {trial: [trial] for trial in PHASE2}),
        metric=METRIC,
    log:
        "<results>/logs/rank_phase2.log",


rule estimate_importances:
    """How much each hyperparameter of the space mattered, with an interval."""
    input:
        "<results>/phase2/leaderboard.csv",
    output:
        "<results>/phase2/importances.csv",
    params:
        **runs("estimate_importances"),
        names=list(CONFIG["phase2"]["space"]),
        seed=CONFIG["seed"],
    log:
        "<results>/logs/estimate_importances.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "estimate_importances",
            "--leaderboard {input} --names {params.names} --seed {params.seed}",
            "--output {output}",
        )


rule export_study:
    """Phase 2 as an Optuna journal, for optuna-dashboard; runs only when requested."""
    input:
        metrics=metrics_of("phase2", PHASE2),
        histories=expand(f"{RESULTS}/phase2/{{trial}}/history.csv", trial=PHASE2),
        bracket=f"{RESULTS}/phase2/bracket-0.json",
    output:
        f"{RESULTS}/phase2/optuna_journal.log",
    params:
        **runs("export_study"),
        metric=METRIC,
        name=RUN,
    log:
        f"{RESULTS}/logs/export_study.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "export_study",
            "--metrics {input.metrics} --bracket {input.bracket}",
            "--metric {params.metric} --name {params.name} --output {output}",
        )


MODEL_FLAGS = f"--earlier {RESULTS}/phase1/leaderboard.csv --estimate {CONFIG['selection']['estimate']}"


rule select_phase2:
    """The best of Phase 2 by the fixed rule, with a warning where it lies on the border of the space."""
    input:
        leaderboard="<results>/phase2/leaderboard.csv",
        bracket="<results>/phase2/bracket-0.json",
        earlier="<results>/phase1/leaderboard.csv",
    output:
        "<results>/phase2/best.json",
    params:
        **runs("select_trial"),
        metric=METRIC,
        model=MODEL_FLAGS,
        defaults=canonical_json(DEFAULTS),
        stage="phase2",
    log:
        "<results>/logs/select_phase2.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "select_trial",
            "--leaderboard {input.leaderboard} --bracket {input.bracket}",
            "{params.model}",
            *SELECTION_FLAGS,
        )


rule plan_confirm_trial:
    """One of Phase 2's best once more, with a fresh seed."""
    input:
        fingerprint="<results>/data/fingerprint.json",
        image_weights=image_weights(),
        best="<results>/phase2/best.json",
    output:
        "<results>/confirm/{trial}/trial.json",
    params:
        **runs("plan_trial"),
        **class_prompts(),
        specification=specification("confirm"),
        image_weights=image_weights_flag(),
        rank=lambda wildcards: CONFIRM[wildcards.trial].rank,
    log:
        "<results>/logs/plan_confirm_trial/{trial}.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch("plan_trial", *PLAN_FLAGS, "--candidates {input.best} --slot {params.rank}")


use rule train_phase1_trial as train_confirm_trial with:
    input:
        **training_inputs("confirm"),
        encoder=encoder_dir(SEARCH_ENCODER),
        image_weights=image_weights(),
    output:
        metrics="<results>/confirm/{trial}/metrics.json",
        history="<results>/confirm/{trial}/history.csv",
        predictions="<results>/confirm/{trial}/val_predictions.parquet",
    log:
        "<results>/logs/train_confirm_trial/{trial}.log",
    benchmark:
        "<results>/benchmarks/train_confirm_trial/{trial}.tsv"


use rule rank_phase1 as rank_confirm with:
    input:
        metrics=expand("<results>/confirm/{trial}/metrics.json", trial=CONFIRM),
        predictions=expand("<results>/confirm/{trial}/val_predictions.parquet", trial=CONFIRM),
    output:
        "<results>/confirm/leaderboard.csv",
    params:
        **runs("rank_trials"),
        candidates=candidate_flags("confirm", JOBS.finalists),
        metric=METRIC,
    log:
        "<results>/logs/rank_confirm.log",


use rule select_phase2 as select_best with:
    input:
        leaderboard=("<results>/confirm/leaderboard.csv" if CONFIRM else "<results>/phase2/leaderboard.csv"),
        bracket="<results>/phase2/bracket-0.json",
        earlier=[] if CONFIRM else "<results>/phase1/leaderboard.csv",
    output:
        "<results>/best.json",
    params:
        **runs("select_trial"),
        metric=METRIC,
        # fresh seeds decide by what they score
        model="" if CONFIRM else MODEL_FLAGS,
        defaults=canonical_json(DEFAULTS),
        stage="confirm" if CONFIRM else "phase2",
    log:
        "<results>/logs/select_best.log",

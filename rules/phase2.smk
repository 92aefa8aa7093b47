# phase1/best.json -> phase2/bracket-{b}.json -> phase2/{trial}/... -> phase2/leaderboard.csv -> phase2/best.json
#   -> confirm/{trial}/... -> confirm/leaderboard.csv -> best.json


localrules:
    propose_bracket,
    plan_phase2_trial,
    rank_phase2,
    select_phase2,
    plan_confirm_trial,
    rank_confirm,
    select_best,


rule propose_bracket:
    """Draws the configurations of one bracket around the best of Phase 1."""
    input:
        "results/{run}/phase1/best.json",
    output:
        "results/{run}/phase2/bracket-{bracket}.json",
    params:
        code=code_hash("propose_bracket"),
        space=canonical_json(CONFIG["phase2"]["space"]),
        strategy=CONFIG["phase2"]["strategy"],
        slots=len(PHASE2),
        # the same seed in every bracket would propose the same points again
        seed=lambda wildcards: CONFIG["seed"] + int(wildcards.bracket),
    log:
        "results/{run}/logs/propose_bracket/{bracket}.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "propose_bracket",
            "--best {input}",
            "--space {params.space:q}",
            "--strategy {params.strategy}",
            "--slots {params.slots}",
            "--seed {params.seed}",
            "--output {output}",
        )


rule plan_phase2_trial:
    """One slot of a bracket, on all the data."""
    input:
        fingerprint="results/{run}/data/fingerprint.json",
        prompts=ancient(PROMPTS),
        bracket=f"results/{{run}}/phase2/bracket-{BRACKET}.json",
    output:
        "results/{run}/phase2/{trial}/trial.json",
    params:
        code=code_hash("plan_trial"),
        prompts=file_sha256(PROMPTS),
        recipe=lambda wildcards: recipe(
            wildcards.trial, "phase2", CONFIG["phase2"], epochs=stage_epochs(CONFIG["phase2"])
        ),
        slot=lambda wildcards: PHASE2[wildcards.trial],
    log:
        "results/{run}/logs/plan_phase2_trial/{trial}.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "plan_trial",
            *PLAN_FLAGS,
            "--candidates {input.bracket}",
            "--slot {params.slot}",
        )


use rule train_phase1_trial as train_phase2_trial with:
    input:
        **training_inputs("phase2"),
        encoder=encoder_dir(SEARCH_ENCODER),
        vision=vision_weights(),
    output:
        metrics="results/{run}/phase2/{trial}/metrics.json",
        history="results/{run}/phase2/{trial}/history.csv",
        predictions="results/{run}/phase2/{trial}/val_predictions.parquet",
    log:
        "results/{run}/logs/train_phase2_trial/{trial}.log",
    benchmark:
        "results/{run}/benchmarks/train_phase2_trial/{trial}.tsv"


use rule rank_phase1 as rank_phase2 with:
    input:
        metrics=expand("results/{{run}}/phase2/{trial}/metrics.json", trial=PHASE2),
        predictions=expand("results/{{run}}/phase2/{trial}/val_predictions.parquet", trial=PHASE2),
    output:
        "results/{run}/phase2/leaderboard.csv",
    params:
        code=code_hash("rank_trials"),
        candidates=candidate_flags("phase2", {trial: [trial] for trial in PHASE2}),
        metric=METRIC,
    log:
        "results/{run}/logs/rank_phase2.log",


rule select_phase2:
    """The best of Phase 2 by the fixed rule, with a warning where it lies on the border of the space."""
    input:
        leaderboard="results/{run}/phase2/leaderboard.csv",
        bracket=f"results/{{run}}/phase2/bracket-{BRACKET}.json",
    output:
        "results/{run}/phase2/best.json",
    params:
        code=code_hash("select_trial"),
        metric=METRIC,
        defaults=canonical_json(DEFAULTS),
    log:
        "results/{run}/logs/select_phase2.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "select_trial",
            "--leaderboard {input.leaderboard}",
            "--stage phase2",
            "--metric {params.metric}",
            "--defaults {params.defaults:q}",
            "--bracket {input.bracket}",
            "--output {output}",
        )


rule plan_confirm_trial:
    """One of Phase 2's best once more, with a fresh seed."""
    input:
        fingerprint="results/{run}/data/fingerprint.json",
        prompts=ancient(PROMPTS),
        best="results/{run}/phase2/best.json",
    output:
        "results/{run}/confirm/{trial}/trial.json",
    params:
        code=code_hash("plan_trial"),
        prompts=file_sha256(PROMPTS),
        recipe=lambda wildcards: recipe(
            wildcards.trial,
            "confirm",
            CONFIG["confirm"],
            epochs=CONFIG["confirm"].get("epochs", stage_epochs(CONFIG["phase2"])),
            seed=CONFIRM[wildcards.trial]["seed"],
        ),
        rank=lambda wildcards: CONFIRM[wildcards.trial]["rank"],
    log:
        "results/{run}/logs/plan_confirm_trial/{trial}.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "plan_trial",
            *PLAN_FLAGS,
            "--candidates {input.best}",
            "--slot {params.rank}",
        )


use rule train_phase1_trial as train_confirm_trial with:
    input:
        **training_inputs("confirm"),
        encoder=encoder_dir(SEARCH_ENCODER),
        vision=vision_weights(),
    output:
        metrics="results/{run}/confirm/{trial}/metrics.json",
        history="results/{run}/confirm/{trial}/history.csv",
        predictions="results/{run}/confirm/{trial}/val_predictions.parquet",
    log:
        "results/{run}/logs/train_confirm_trial/{trial}.log",
    benchmark:
        "results/{run}/benchmarks/train_confirm_trial/{trial}.tsv"


FINALISTS = {
    f"c{rank}": [trial for trial, entry in CONFIRM.items() if entry["rank"] == rank]
    for rank in range(CONFIG["confirm"]["top_k"])
}


use rule rank_phase1 as rank_confirm with:
    input:
        metrics=expand("results/{{run}}/confirm/{trial}/metrics.json", trial=CONFIRM),
        predictions=expand("results/{{run}}/confirm/{trial}/val_predictions.parquet", trial=CONFIRM),
    output:
        "results/{run}/confirm/leaderboard.csv",
    params:
        code=code_hash("rank_trials"),
        candidates=candidate_flags("confirm", FINALISTS),
        metric=METRIC,
    log:
        "results/{run}/logs/rank_confirm.log",


use rule select_phase2 as select_best with:
    input:
        leaderboard=(
            "results/{run}/confirm/leaderboard.csv" if CONFIRM else "results/{run}/phase2/leaderboard.csv"
        ),
        bracket=f"results/{{run}}/phase2/bracket-{BRACKET}.json",
    output:
        "results/{run}/best.json",
    log:
        "results/{run}/logs/select_best.log",

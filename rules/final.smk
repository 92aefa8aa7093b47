# best.json -> final/{trial}/trial.json -> metrics.json, model/ -> evaluation.json; final/recommendation.json


localrules:
    plan_final,
    recommend_encoder,


FINAL_TRIALS = "|".join(FINALS)


rule plan_final:
    """The winner with one of the text encoders, or the default config, at full budget."""
    wildcard_constraints:
        trial=FINAL_TRIALS,
    input:
        fingerprint="results/{run}/data/fingerprint.json",
        prompts=ancient(PROMPTS),
        best="results/{run}/best.json",
    output:
        "results/{run}/final/{trial}/trial.json",
    params:
        code=code_hash("plan_trial"),
        prompts=file_sha256(PROMPTS),
        recipe=plan_final_recipe,
        best=plan_final_flags,
    log:
        "results/{run}/logs/plan_final/{trial}.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "plan_trial",
            *PLAN_FLAGS,
            "{params.best}",
        )


rule train_final:
    """A final training: the same script as every trial, and the trained model is exported."""
    wildcard_constraints:
        trial=FINAL_TRIALS,
    input:
        **training_inputs("final"),
        encoder=lambda wildcards: encoder_dir(FINALS[wildcards.trial]["encoder"]),
        vision=vision_weights(),
    output:
        model=directory("results/{run}/final/{trial}/model"),
        metrics="results/{run}/final/{trial}/metrics.json",
        history="results/{run}/final/{trial}/history.csv",
        predictions="results/{run}/final/{trial}/val_predictions.parquet",
    params:
        **training_params(),
    log:
        "results/{run}/logs/train_final/{trial}.log",
    benchmark:
        "results/{run}/benchmarks/train_final/{trial}.tsv"
    threads: max(1, GPUS)
    resources:
        **TRAINING_RESOURCES,
    conda:
        "../envs/train.yaml"
    shell:
        launch("train_trial", *TRAINING_FLAGS, "--export", processes=GPUS)


EVALUATION_BATCH = 64
EVALUATION_RESOURCES = {
    **requested(
        lambda input: {
            "mem_mb": requests.memory_mb(EVALUATION_BATCH, DATA["image_size"], GPUS),
            "runtime": requests.runtime_minutes(
                sum(split["samples"] for split in planned(input.fingerprint)["splits"].values()), GPUS
            ),
        }
    ),
    "gpu": min(1, GPUS),
}


rule evaluate_final:
    """Opens the test split: zero-shot, retrieval and a linear probe with intervals. Nothing is chosen here."""
    wildcard_constraints:
        trial=FINAL_TRIALS,
    input:
        trial="results/{run}/final/{trial}/trial.json",
        model="results/{run}/final/{trial}/model",
        samples=expand("results/{{run}}/data/samples_{split}.parquet", split=["train", "val", "test"]),
        stores=expand("results/{{run}}/data/{split}.lmdb", split=["train", "val", "test"]),
        fingerprint="results/{run}/data/fingerprint.json",
    output:
        evaluation="results/{run}/final/{trial}/evaluation.json",
        predictions="results/{run}/final/{trial}/predictions.parquet",
    params:
        code=code_hash("evaluate_final"),
        data=lambda wildcards, input: Path(input.fingerprint).parent,
        device=TRAINING["device"],
    log:
        "results/{run}/logs/evaluate_final/{trial}.log",
    benchmark:
        "results/{run}/benchmarks/evaluate_final/{trial}.tsv"
    threads: 1
    resources:
        **EVALUATION_RESOURCES,
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "evaluate_final",
            "--trial {input.trial}",
            "--model-dir {input.model}",
            "--data-dir {params.data}",
            "--device {params.device}",
            "--output-evaluation {output.evaluation}",
            "--output-predictions {output.predictions}",
        )


rule recommend_encoder:
    """The text encoder with the best mean validation score; test only reports."""
    input:
        expand(
            "results/{{run}}/final/{trial}/metrics.json",
            trial=[trial for trial, entry in FINALS.items() if entry["kind"] == "winner"],
        ),
    output:
        "results/{run}/final/recommendation.json",
    params:
        code=code_hash("recommend_encoder"),
        metric=METRIC,
    log:
        "results/{run}/logs/recommend_encoder.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch("recommend_encoder", "--metrics {input}", "--metric {params.metric}", "--output {output}")

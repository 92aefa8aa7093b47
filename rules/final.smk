# REQUIRED INPUTS: best.json, encoders/{encoder}/best.json where text encoders have a configuration of their own, the
# data, all text encoders, the initial weights, the features of frozen networks, and the external test sets with their
# overlap.json.
#
# OUTPUTS: final/{trial}/ with model/ and evaluation.json; final/recommendation.json; final/{trial}/external/{external}.json;
# final/{trial}/qualitative_examples.npz of the search encoder; final/initial-s{seed}/evaluation.json of its initial weights;
# final/reference_models.json of what needs no RET-CLIP; final/{trial}/prompts.json and val_features.npz of the search encoder.
#
# STEPS:
#   1. Train the final models: tuned (on all patients, and on fractions of them), baseline, control and ablations, with
#      fresh seeds.
#   2. Evaluate each on the test split, and the tuned ones on the external test sets; score the reference models there.
#      Nothing is chosen by it.
#   3. Recommend a text encoder and score class prompts by validation, and collect qualitative examples.


localrules:
    plan_final,
    recommend_encoder,


FINAL_TRIALS = "|".join(FINALS)


rule plan_final:
    """The tuned configuration with one of the text encoders or on a fraction of the patients, the baseline, or the
    baseline with one tuned value."""
    wildcard_constraints:
        trial=FINAL_TRIALS,
    input:
        fingerprint="<results>/data/fingerprint.json",
        image_weights=image_weights(),
        best=best_file,
        # it says how many samples a fraction of the patients has
        samples=lambda wildcards: (
            f"{RESULTS}/data/samples_train.parquet" if FINALS[wildcards.trial].fraction else []
        ),
    output:
        "<results>/final/{trial}/trial.json",
    params:
        **runs("plan_trial"),
        **class_prompts(),
        specification=specification("final"),
        image_weights=image_weights_flag(),
        best=candidate_taken,
        samples=lambda wildcards, input: f"--train-samples {input.samples}" if input.samples else "",
    log:
        "<results>/logs/plan_final/{trial}.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch("plan_trial", *PLAN_FLAGS, "{params.best} {params.samples}")


rule train_final:
    """Trains a final model: the same script as every trial, and the model is exported."""
    wildcard_constraints:
        trial=FINAL_TRIALS,
    input:
        **training_inputs("final", lambda wildcards: FINALS[wildcards.trial].encoder),
        encoder=lambda wildcards: encoder_dir(FINALS[wildcards.trial].encoder),
        image_weights=image_weights(),
    output:
        model=directory("<results>/final/{trial}/model"),
        metrics="<results>/final/{trial}/metrics.json",
        history="<results>/final/{trial}/history.csv",
        predictions="<results>/final/{trial}/val_predictions.parquet",
    params:
        **training_params(lambda wildcards: FINALS[wildcards.trial].encoder),
    log:
        "<results>/logs/train_final/{trial}.log",
    benchmark:
        "<results>/benchmarks/train_final/{trial}.tsv"
    group:
        SHARED_JOB
    threads: training_threads()
    resources:
        **TRAINING_RESOURCES,
    conda:
        "../envs/train.yaml"
    shell:
        launch("train_trial", *TRAINING_FLAGS, "--export", processes=GPUS)


# the tuned model whose examples are shown, and the reference that it started from
SHOWN, INITIAL = JOBS.shown, JOBS.initial
EVALUATION_FLAGS = (
    *FEATURES_READ,
    "--data-dir {params.data} --code {params.code} --device {params.device} {params.ordered}",
    "--output-evaluation {output.evaluation} --output-predictions {output.predictions}",
)
PROMPT_FLAGS = (
    *FEATURES_READ,
    "--trial {input.trial} --model-dir {input.model} --data-dir {params.data} --device {params.device}",
    "--output-prompts {output.prompts} --output-features {output.features}",
)
EXAMPLES_FLAGS = (
    *FEATURES_READ,
    "--trial {input.trial} --model-dir {input.model} --predictions {input.predictions}",
    "--data-dir {params.data} --device {params.device} {params.private} --output {output}",
)


rule evaluate_final:
    """One test-set evaluation: zero-shot, retrieval and a linear probe with intervals. Nothing is chosen here."""
    wildcard_constraints:
        trial=FINAL_TRIALS,
    input:
        **data_files("train", "val", "test"),
        **read_features(lambda wildcards: FINALS[wildcards.trial].encoder, FEATURES, TEST_FEATURES),
        trial="<results>/final/{trial}/trial.json",
        model="<results>/final/{trial}/model",
    output:
        evaluation="<results>/final/{trial}/evaluation.json",
        predictions="<results>/final/{trial}/predictions.parquet",
    params:
        **evaluation_params("evaluate_final"),
    log:
        "<results>/logs/evaluate_final/{trial}.log",
    benchmark:
        "<results>/benchmarks/evaluate_final/{trial}.tsv"
    threads: 1
    resources:
        **EVALUATION_RESOURCES,
    conda:
        "../envs/train.yaml"
    shell:
        launch("evaluate_final", "--trial {input.trial} --model-dir {input.model}", *EVALUATION_FLAGS)


rule evaluate_initial:
    """The same scores of the untouched initial weights, with a probe of the image encoder alone: what training adds."""
    input:
        **data_files("train", "val", "test"),
        **read_features(None, FEATURES, TEST_FEATURES),
        trial=f"<results>/final/{SHOWN}/trial.json",
        encoder=encoder_dir(SEARCH_ENCODER),
        image_weights=image_weights(),
    output:
        evaluation=f"<results>/final/{INITIAL}/evaluation.json",
        predictions=f"<results>/final/{INITIAL}/predictions.parquet",
    params:
        **evaluation_params("evaluate_final"),
        image_weights=image_weights_flag(),
    log:
        "<results>/logs/evaluate_initial.log",
    benchmark:
        "<results>/benchmarks/evaluate_initial.tsv"
    threads: 1
    resources:
        **EVALUATION_RESOURCES,
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "evaluate_final",
            "--trial {input.trial} --encoder-dir {input.encoder:q} {params.image_weights}",
            *EVALUATION_FLAGS,
        )


rule score_reference_models:
    """What a tuned model has to beat on test: age and sex, colors; and how far a second reader agrees."""
    input:
        **data_files("train", "val", "test"),
    output:
        "<results>/final/reference_models.json",
    params:
        **runs("score_reference_models"),
        data=lambda wildcards, input: Path(input.fingerprint).parent,
    log:
        "<results>/logs/score_reference_models.log",
    benchmark:
        "<results>/benchmarks/score_reference_models.tsv"
    resources:
        **LIGHT_RESOURCES,
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "score_reference_models",
            "--data-dir {params.data} --code {params.code} --output {output}",
        )


rule score_prompts:
    """How far the tuned model's score on val hangs on its class prompts; keeps the features for try_prompts.py."""
    input:
        **data_files("val"),
        **read_features(None, FEATURES),
        trial=f"<results>/final/{SHOWN}/trial.json",
        model=f"<results>/final/{SHOWN}/model",
    output:
        prompts=f"<results>/final/{SHOWN}/prompts.json",
        features=f"<results>/final/{SHOWN}/val_features.npz",
    params:
        **runs("score_prompts"),
        data=lambda wildcards, input: Path(input.fingerprint).parent,
        device=TRAINING["device"],
    log:
        "<results>/logs/score_prompts.log",
    benchmark:
        "<results>/benchmarks/score_prompts.tsv"
    threads: 1
    resources:
        **EVALUATION_RESOURCES,
    conda:
        "../envs/train.yaml"
    shell:
        launch("score_prompts", *PROMPT_FLAGS)


rule collect_examples:
    """Examples of the tuned model's predictions on test, with occlusion maps, and an embedding of its features."""
    input:
        **read_features(None, TEST_FEATURES),
        trial=f"<results>/final/{SHOWN}/trial.json",
        model=f"<results>/final/{SHOWN}/model",
        predictions=f"<results>/final/{SHOWN}/predictions.parquet",
        samples="<results>/data/samples_test.parquet",
        store="<results>/data/test.lmdb",
        fingerprint="<results>/data/fingerprint.json",
    output:
        f"<results>/final/{SHOWN}/qualitative_examples.npz",
    params:
        **runs("collect_examples"),
        data=lambda wildcards, input: Path(input.fingerprint).parent,
        device=TRAINING["device"],
        private="--private" if CONFIG["privacy"]["private"] else "",
    log:
        "<results>/logs/collect_examples.log",
    benchmark:
        "<results>/benchmarks/collect_examples.tsv"
    threads: 1
    resources:
        **EVALUATION_RESOURCES,
    conda:
        "../envs/train.yaml"
    shell:
        launch("collect_examples", *EXAMPLES_FLAGS)


EXTERNAL_EVALUATIONS = [
    f"{RESULTS}/final/{trial}/external/{name}.json"
    for trial in JOBS.of_kind("tuned")
    for name in EXTERNAL_TESTS
]

EXTERNAL_FLAGS = (
    "--trial {input.trial} --model-dir {input.model} --evaluation {input.evaluation}",
    "--prompts {params.prompts_file:q} --overlap {input.overlap}",
    *EVALUATION_FLAGS,
)

if EXTERNAL_TESTS:

    rule evaluate_external:
        """A final model on an external data set; the thresholds are those chosen on its own val split."""
        wildcard_constraints:
            trial=FINAL_TRIALS,
        input:
            **read_external_features(),
            trial="<results>/final/{trial}/trial.json",
            model="<results>/final/{trial}/model",
            evaluation="<results>/final/{trial}/evaluation.json",
            data=multiext("<results>/external/{external}/", "samples_test.parquet", "test.lmdb"),
            fingerprint="<results>/external/{external}/fingerprint.json",
            overlap="<results>/external/{external}/overlap.json",
        output:
            evaluation="<results>/final/{trial}/external/{external}.json",
            predictions="<results>/final/{trial}/external/{external}.parquet",
        params:
            **evaluation_params("evaluate_external"),
            **class_prompts(),
        log:
            "<results>/logs/evaluate_external/{trial}-{external}.log",
        benchmark:
            "<results>/benchmarks/evaluate_external/{trial}-{external}.tsv"
        threads: 1
        resources:
            **EVALUATION_RESOURCES,
        conda:
            "../envs/train.yaml"
        shell:
            launch("evaluate_external", *EXTERNAL_FLAGS)


rule recommend_encoder:
    """The text encoder with the best mean validation score; test only reports."""
    input:
        expand(
            "<results>/final/{trial}/metrics.json",
            trial=JOBS.of_kind("tuned"),
        ),
    output:
        "<results>/final/recommendation.json",
    params:
        **runs("recommend_encoder"),
        metric=METRIC,
    log:
        "<results>/logs/recommend_encoder.log",
    conda:
        "../envs/train.yaml"
    shell:
        launch("recommend_encoder", "--metrics {input}", "--metric {params.metric}", "--output {output}")

# data + the search encoder -> find_lr/curve.csv, find_lr/suggestion.json


LR_FINDER_RESOURCES = {
    **requested(
        lambda input: {
            "mem_mb": requests.memory_mb(DEFAULTS["batch_size"], DATA["image_size"], GPUS),
            "runtime": requests.runtime_minutes(
                DEFAULTS["batch_size"] * CONFIG["lr_finder"]["num_iter"], GPUS
            ),
        }
    ),
    "gpu": min(1, GPUS),
}


rule find_lr:
    """torch-lr-finder's range test on the default config."""
    input:
        samples="<results>/data/samples_train.parquet",
        store="<results>/data/train.lmdb",
        fingerprint="<results>/data/fingerprint.json",
        encoder=encoder_dir(SEARCH_ENCODER),
        vision=vision_weights(),
        vision_features=vision_features(),
        text_features=text_features(SEARCH_ENCODER),
    output:
        curve="<results>/find_lr/curve.csv",
        suggestion="<results>/find_lr/suggestion.json",
    params:
        code=code_hash("find_lr"),
        specification=canonical_json(jobs.specification(CONFIG, "find_lr", "find_lr", {})),
        folder=lambda wildcards, input: Path(input.fingerprint).parent,
        vision=vision_flag(),
        features=features_flags(SEARCH_ENCODER),
        start_lr=CONFIG["lr_finder"]["start_lr"],
        end_lr=CONFIG["lr_finder"]["end_lr"],
        num_iter=CONFIG["lr_finder"]["num_iter"],
        device=TRAINING["device"],
    log:
        "<results>/logs/find_lr.log",
    benchmark:
        "<results>/benchmarks/find_lr.tsv"
    threads: 1
    resources:
        **LR_FINDER_RESOURCES,
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "find_lr",
            "--recipe {params.specification:q}",
            "--data-dir {params.folder}",
            "--encoder-dir {input.encoder:q}",
            "{params.vision}",
            "{params.features}",
            "--start-lr {params.start_lr}",
            "--end-lr {params.end_lr}",
            "--num-iter {params.num_iter}",
            "--device {params.device}",
            "--output-curve {output.curve}",
            "--output-suggestion {output.suggestion}",
        )

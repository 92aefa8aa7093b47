# REQUIRED INPUTS: the train split, the search encoder, the initial weights, and the features of frozen networks.
#
# OUTPUTS: find_lr/curve.csv, find_lr/suggestion.json: the range test, what it suggests, and the measured throughput.
#
# STEPS:
#   1. Run the range test on the baseline configuration.
LR_FINDER = CONFIG["lr_finder"]
LR_FINDER_RESOURCES = requested(
    lambda input: {
        "mem_mb": requests.memory_mb(DEFAULTS["batch_size"], DATA["image_size"], GPUS),
        "runtime": requests.runtime_minutes(DEFAULTS["batch_size"] * LR_FINDER["num_iter"], GPUS),
    },
    min(1, GPUS),
)
LR_FINDER_FLAGS = (
    "--specification {params.specification:q} --data-dir {params.folder} --encoder-dir {input.encoder:q}",
    "{params.image_weights} {params.range} --device {params.device}",
    *FEATURES_READ,
    "--output-curve {output.curve} --output-suggestion {output.suggestion}",
)


rule find_lr:
    """torch-lr-finder's range test on the baseline configuration."""
    input:
        **read_features(),
        data=multiext("<results>/data/", "samples_train.parquet", "train.lmdb"),
        fingerprint="<results>/data/fingerprint.json",
        encoder=encoder_dir(SEARCH_ENCODER),
        image_weights=image_weights(),
    output:
        curve="<results>/find_lr/curve.csv",
        suggestion="<results>/find_lr/suggestion.json",
    params:
        **runs("find_lr"),
        specification=canonical_json(jobs.specification(CONFIG, "find_lr", "find_lr", {})),
        folder=lambda wildcards, input: Path(input.fingerprint).parent,
        image_weights=image_weights_flag(),
        range="--start-lr {start_lr} --end-lr {end_lr} --num-iter {num_iter}".format(**LR_FINDER),
        device=TRAINING["device"],
    log:
        "<results>/logs/find_lr.log",
    benchmark:
        "<results>/benchmarks/find_lr.tsv"
    threads: training_threads(alone=True)
    resources:
        **LR_FINDER_RESOURCES,
    conda:
        "../envs/train.yaml"
    shell:
        launch("find_lr", *LR_FINDER_FLAGS)

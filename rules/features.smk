# REQUIRED INPUTS: the splits of the run's data and of external data sets, the text encoders, and the initial weights.
#
# OUTPUTS: features/{network}.safetensors of train and val, where an encoder is frozen in some trial; of test
# features/test/{network}.safetensors and external/{external}/features/{network}.safetensors, which evaluations alone
# read.
#
# STEPS:
#   1. Compute the features of frozen encoders, once for all trials and evaluations.
FEATURES_FLAGS = (
    "--specification {params.specification:q} --modality {params.modality} --data-dir {params.data}",
    "--encoder-dir {input.encoder:q} {params.image_weights} --device {params.device}",
    "--splits {params.splits} --threads {threads} --output {output}",
)

if CACHED:

    rule cache_features:
        """A frozen encoder over train and val, once for all trials and evaluations."""
        input:
            **data_files("train", "val"),
            encoder=lambda wildcards: encoder_dir(cached_encoder(wildcards)),
            image_weights=image_weights(),
        output:
            "<results>/features/{network}.safetensors",
        wildcard_constraints:
            network="|".join(NETWORKS),
        params:
            **features_params("train", "val"),
        log:
            "<results>/logs/cache_features/{network}.log",
        benchmark:
            "<results>/benchmarks/cache_features/{network}.tsv"
        threads: features_threads
        resources:
            **EVALUATION_RESOURCES,
        conda:
            "../envs/train.yaml"
        shell:
            launch("cache_features", *FEATURES_FLAGS, own_threads=True)

    use rule cache_features as cache_test_features with:
        input:
            **data_files("test"),
            encoder=lambda wildcards: encoder_dir(cached_encoder(wildcards)),
            image_weights=image_weights(),
        output:
            "<results>/features/test/{network}.safetensors",
        params:
            **features_params("test"),
        log:
            "<results>/logs/cache_test_features/{network}.log",
        benchmark:
            "<results>/benchmarks/cache_test_features/{network}.tsv"

    use rule cache_features as cache_external_features with:
        input:
            data=multiext("<results>/external/{external}/", "samples_test.parquet", "test.lmdb"),
            fingerprint="<results>/external/{external}/fingerprint.json",
            encoder=lambda wildcards: encoder_dir(cached_encoder(wildcards)),
            image_weights=image_weights(),
        output:
            "<results>/external/{external}/features/{network}.safetensors",
        params:
            **features_params("test"),
        log:
            "<results>/logs/cache_external_features/{external}-{network}.log",
        benchmark:
            "<results>/benchmarks/cache_external_features/{external}-{network}.tsv"

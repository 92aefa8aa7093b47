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
    "--splits {params.splits} --output {output}",
)

# A file of features -> the encoder that makes them, and the text encoder beside it; an image's are the same with each.
NETWORKS = {
    "image": ("image", SEARCH_ENCODER),
    **{f"text-{encoder}": ("text", encoder) for encoder in MODEL["text_encoders"]},
}


def cached_encoder(wildcards):
    """The text encoder of the model whose features cache_features makes."""
    return NETWORKS[wildcards.network][1]


def features_params(*splits):
    return {
        **runs("cache_features"),
        "specification": lambda wildcards: canonical_json(
            jobs.features_specification(CONFIG, cached_encoder(wildcards))
        ),
        "modality": lambda wildcards: NETWORKS[wildcards.network][0],
        "data": lambda wildcards, input: Path(input.fingerprint).parent,
        "image_weights": image_weights_flag(),
        "device": TRAINING["device"],
        "splits": " ".join(splits),
    }


def read_features(encoder_of=None, *folders):
    """Features of frozen encoders (encoder_of: wildcards -> name, where it is not the search's), as inputs."""
    return {
        "image_features": image_features(*folders),
        "text_features": of_encoder(lambda encoder: text_features(encoder, *folders), encoder_of),
    }


def read_external_features():
    """As read_features, of an external data set, for a final model."""

    def of_text(wildcards):
        folder = EXTERNAL_FEATURES.format(external=wildcards.external)
        return text_features(FINALS[wildcards.trial].encoder, folder)

    return {"image_features": image_features(EXTERNAL_FEATURES), "text_features": of_text}


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
        threads: 1
        resources:
            **EVALUATION_RESOURCES,
        conda:
            "../envs/train.yaml"
        shell:
            launch("cache_features", *FEATURES_FLAGS)

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

# REQUIRED INPUTS: rules/common.smk, rules/inputs.smk.
#
# OUTPUTS: none. It holds the functions that say where features of frozen encoders lie, which jobs read them, and with
# which params they are made.
#
# STEPS: paths, then what reads them, then what makes them.

# the features of frozen networks are computed once, and shared by all trials and evaluations; of train and val in one
# file, of test in another one, which evaluations alone read
CACHED = jobs.cached_networks(CONFIG)
FEATURES, TEST_FEATURES = f"{RESULTS}/features", f"{RESULTS}/features/test"
EXTERNAL_FEATURES = f"{RESULTS}/external/{{external}}/features"
FEATURES_READ = [
    f"--{name}-features {{input.{name}_features}}" for name in ("image", "text") if name in CACHED
]


def image_features(*folders):
    return [f"{folder}/image.safetensors" for folder in folders or [FEATURES] if "image" in CACHED]


def text_features(encoder, *folders):
    return [f"{folder}/text-{encoder}.safetensors" for folder in folders or [FEATURES] if "text" in CACHED]


def of_encoder(value, encoder_of):
    """value(encoder) of a job. A function costs snakemake a tenth of a millisecond for each job, so it is one only
    where jobs differ."""
    if encoder_of is None or "text" not in CACHED:
        return value(SEARCH_ENCODER)
    return lambda wildcards: value(encoder_of(wildcards))


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


def features_threads(wildcards):
    """All cores of this machine, or four of a cluster's node; one beside a GPU. Batches are independent of each other,
    so that a thread each is faster than sharing one, and no number depends on how many there are."""
    if GPUS:
        return 1
    return cores_here() or 4

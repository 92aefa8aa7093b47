# REQUIRED INPUTS: the table and images that the config's `data` names, or none for the demo, which draws its own; the
# text encoders and initial weights that `model` names, from the net or a local folder.
#
# OUTPUTS: data/samples_{split}.parquet, data/{split}.lmdb, data/fingerprint.json, data/audit.json; for an external test
# set the same in external/{external}/, and overlap.json: who of it is in train or val; resources/text_encoders/,
# resources/image_encoders/.
#
# STEPS:
#   1. Draw the demo's images, or fetch a data set of the hub (on the login node, which has the net).
#   2. Build the stores that training reads, split by patient, and audit them.
#   3. Build the external test sets, and look for their patients in train and val.
#   4. Fetch or make the text encoders and the initial weights of the image encoder; list them.

SOURCE = source_facts(DATA["source"])
# What build_lmdb reads: the user's table and images, or what the demo draws, or what the hub has.
MANIFEST = f"{RESULTS}/demo/manifest.csv" if SOURCE.is_drawn else DATA["manifest"]
if SOURCE.is_drawn:
    IMAGE_ROOT = f"{RESULTS}/demo/images"
elif "hub_dataset" in DATA:
    IMAGE_ROOT = hub_folder("datasets", DATA["hub_dataset"])
else:
    IMAGE_ROOT = data_settings.image_root(DATA)

BUILD_FLAGS = (
    "--settings {params.settings:q} --manifest {input.manifest:q} --image-root {params.image_root:q}",
    "{params.tables} --threads {threads} --work-dir {params.work} --output-dir {params.folder}",
    image_weights_flag(),
)
BUILD_RESOURCES = {
    # each of its threads decodes one photograph at a time
    "mem_mb": scale_with_attempt("mem_mb", lambda input: 2000 + 1100 * 4),
    "runtime": scale_with_attempt("runtime", lambda input: 240),
}
OVERLAP_FLAGS = (
    "--data-dir {params.data} --external-dir {params.folder} --threads {threads}",
    "--output {output}",
)
ORDERED_CLASSES = " ".join(
    ["--ordered-classes", *map(shlex.quote, CONFIG["evaluation"]["ordered_classes"])]
    if "ordered_classes" in CONFIG["evaluation"]
    else []
)
AUDIT_FLAGS = (
    "--data-dir {params.folder} {params.encoders} {params.image_weights} --context-length {params.context_length}",
    "--selection-metric {params.metric} --data-fractions {params.fractions} {params.ordered} --output {output}",
)
LIGHT_RESOURCES = {
    "mem_mb": scale_with_attempt("mem_mb", lambda input: 8000),
    "runtime": scale_with_attempt("runtime", lambda input: 120),
}


if SOURCE.is_drawn:

    rule make_demo_data:
        """Draws fundus photographs and writes their reports."""
        output:
            manifest="<results>/demo/manifest.csv",
            images=directory("<results>/demo/images"),
        params:
            **runs("make_demo_data"),
            patients=DATA["demo_patients"],
            seed=CONFIG["seed"],
        log:
            "<results>/logs/make_demo_data.log",
        benchmark:
            "<results>/benchmarks/make_demo_data.tsv"
        threads: 2
        conda:
            "../envs/train.yaml"
        shell:
            launch(
                "make_demo_data",
                "--patients {params.patients} --seed {params.seed} --threads {threads}",
                "--output-manifest {output.manifest} --output-images {output.images}",
            )


rule build_lmdb:
    """Crops to the fundus, resizes, splits by patient, and stores the pixels where training reads them."""
    input:
        manifest=MANIFEST,
        test_manifest=DATA.get("test_manifest", []),
        image_weights=image_weights(),
        images=IMAGE_ROOT if "hub_dataset" in DATA else [],
    output:
        pictures="<results>/data/pictures.parquet",
        samples=multiext(
            "<results>/data/samples", ".parquet", "_train.parquet", "_val.parquet", "_test.parquet"
        ),
        stores=multiext("<results>/data/", "train.lmdb", "val.lmdb", "test.lmdb"),
        fingerprint="<results>/data/fingerprint.json",
    params:
        **build_params(f"{RESULTS}/state"),
    log:
        "<results>/logs/build_lmdb.log",
    benchmark:
        "<results>/benchmarks/build_lmdb.tsv"
    threads: 4
    resources:
        **BUILD_RESOURCES,
    conda:
        "../envs/train.yaml"
    shell:
        launch("build_lmdb", *BUILD_FLAGS)


if EXTERNAL_TESTS:

    use rule build_lmdb as build_external_lmdb with:
        input:
            manifest=lambda wildcards: EXTERNAL_TESTS[wildcards.external]["manifest"],
            test_manifest=[],
            image_weights=image_weights(),
        output:
            samples="<results>/external/{external}/samples_test.parquet",
            store="<results>/external/{external}/test.lmdb",
            pictures="<results>/external/{external}/pictures.parquet",
            fingerprint="<results>/external/{external}/fingerprint.json",
        params:
            **build_params(f"{RESULTS}/state/external/{{external}}"),
        log:
            "<results>/logs/build_external_lmdb/{external}.log",
        benchmark:
            "<results>/benchmarks/build_external_lmdb/{external}.tsv"

    rule find_overlap:
        """Whether its people are in train or val: a score is external where their images, ids and texts are not."""
        input:
            **data_files("train", "val"),
            pictures="<results>/data/pictures.parquet",
            external=multiext(
                "<results>/external/{external}/",
                *("samples_test.parquet", "test.lmdb", "pictures.parquet", "fingerprint.json"),
            ),
        output:
            "<results>/external/{external}/overlap.json",
        params:
            **runs("find_overlap"),
            data=lambda wildcards, input: Path(input.fingerprint).parent,
            folder=lambda wildcards, output: Path(output[0]).parent,
        log:
            "<results>/logs/find_overlap/{external}.log",
        benchmark:
            "<results>/benchmarks/find_overlap/{external}.tsv"
        threads: 4
        resources:
            **LIGHT_RESOURCES,
        conda:
            "../envs/train.yaml"
        shell:
            launch("find_overlap", *OVERLAP_FLAGS)


# What it finds should be read before device hours are spent, so it goes first; but no training run waits for it as
# ancient(): snakemake 9.27 looks at no other change downstream of a job that runs, even where that edge is ancient.
rule audit_data:
    """Counts, leaks, copies, sides, shortcuts, and what each tokenizer makes of the reports; reads all splits."""
    input:
        samples=rules.build_lmdb.output.samples,
        pictures=rules.build_lmdb.output.pictures,
        fingerprint=rules.build_lmdb.output.fingerprint,
        encoders=[encoder_dir(encoder) for encoder in MODEL["text_encoders"]],
        image_weights=image_weights(),
    output:
        "<results>/data/audit.json",
    params:
        **runs("audit_data"),
        folder=lambda wildcards, input: Path(input.fingerprint).parent,
        encoders=audited_encoders(),
        image_weights=image_weights_flag(),
        context_length=MODEL["context_length"],
        metric=METRIC,
        fractions=" ".join(map(str, subsets(CONFIG).values())),
        ordered=ORDERED_CLASSES,
    log:
        "<results>/logs/audit_data.log",
    benchmark:
        "<results>/benchmarks/audit_data.tsv"
    priority: 100
    resources:
        **LIGHT_RESOURCES,
    conda:
        "../envs/train.yaml"
    shell:
        launch("audit_data", *AUDIT_FLAGS, shown=True)


DEMO_ENCODERS = [name for name, entry in MODEL["text_encoders"].items() if entry["source"] == "demo"]
FETCHED_ENCODERS = {
    Path(encoder_dir(name)).name: name for name in MODEL["text_encoders"] if name not in DEMO_ENCODERS
}


if DEMO_ENCODERS:

    rule make_demo_encoder:
        """A tiny BERT with a tokenizer and a pre-training of its own."""
        output:
            directory("resources/text_encoders/demo--{encoder}"),
        params:
            **runs("make_demo_encoder"),
        log:
            "resources/logs/make_demo_encoder/{encoder}.log",
        conda:
            "../envs/train.yaml"
        shell:
            launch("make_demo_encoder", "--name {wildcards.encoder}", "--seed 1", "--output {output}")


if FETCHED_ENCODERS:

    localrules:
        fetch_text_encoder,

    rule fetch_text_encoder:
        """Brings a text encoder and its tokenizer from the hub, or from a local folder, at one revision."""
        output:
            directory("resources/text_encoders/{slug}"),
        wildcard_constraints:
            slug="|".join(map(re.escape, FETCHED_ENCODERS)),
        params:
            **runs("fetch_text_encoder"),
            name=lambda wildcards: FETCHED_ENCODERS[wildcards.slug],
            source=lambda wildcards: fetched(wildcards)["source"],
            revision=lambda wildcards: fetched(wildcards).get("revision", "main"),
            pooling=lambda wildcards: " ".join(
                f"--pooling {pooling}" for pooling in [fetched(wildcards).get("pooling")] if pooling
            ),
            fine_tuning=lambda wildcards, input: fine_tuning_flags("text", fetched(wildcards)),
            # what runs share is not fetched again for one that reads more; its training runs ask once more
            context_length=uncompared(MODEL["context_length"]),
        log:
            "resources/logs/fetch_text_encoder/{slug}.log",
        conda:
            "../envs/train.yaml"
        shell:
            launch(
                "fetch_text_encoder",
                "--name {params.name} --source {params.source:q} --revision {params.revision:q}",
                "{params.pooling} {params.fine_tuning} --context-length {params.context_length}",
                "--output {output:q}",
            )


if image_weights():

    localrules:
        fetch_vision_weights,

    rule fetch_vision_weights:
        """The initial weights of the image encoder, fitted to its architecture, and how they want their images."""
        input:
            # a file of the user's that changes is fetched again; one that is missing, the entry names
            MODEL["image_encoder"]["weights"] if is_file(MODEL["image_encoder"]["weights"]) else [],
        output:
            weights=image_weights(),
            settings=[str(settings_path(Path(path))) for path in image_weights()],
        params:
            **runs("fetch_vision_weights"),
            settings=canonical_json(jobs.of_whole_encoder(MODEL["image_encoder"])),
            image_size=DATA["image_size"],
            fine_tuning=uncompared(fine_tuning_flags("image", MODEL["image_encoder"])),
        log:
            "resources/logs/fetch_vision_weights.log",
        conda:
            "../envs/train.yaml"
        shell:
            launch(
                "fetch_vision_weights",
                "--settings {params.settings:q} --image-size {params.image_size} {params.fine_tuning}",
                "--output {output.weights}",
                shown=True,
            )


if "hub_dataset" in DATA:

    localrules:
        fetch_dataset,

    rule fetch_dataset:
        """The images of a data set on the hub, at one revision."""
        output:
            directory(IMAGE_ROOT),
        params:
            **runs("fetch_dataset"),
            source=lambda wildcards: DATA["hub_dataset"]["source"],
            revision=lambda wildcards: DATA["hub_dataset"].get("revision", "main"),
            image_column=lambda wildcards: DATA["hub_dataset"].get("image_column", "image"),
        log:
            "resources/logs/fetch_dataset.log",
        conda:
            "../envs/train.yaml"
        shell:
            launch(
                "fetch_dataset",
                "--source {params.source:q} --revision {params.revision:q}",
                "--image-column {params.image_column:q} --output {output:q}",
            )


localrules:
    fetch,
    list_fetched,


rule fetch:
    """Whatever comes from the net, and nothing else: snakemake fetch, or make fetch."""
    input:
        IMAGE_ROOT if "hub_dataset" in DATA else [],
        [encoder_dir(encoder) for encoder in MODEL["text_encoders"]],
        image_weights(),


rule list_fetched:
    """What was fetched and where it lies, printed; make fetch TO=folder copies it there, too."""
    input:
        rules.fetch.input,
    params:
        **runs("list_fetched"),
    log:
        f"{RESULTS}/logs/list_fetched.log",
    conda:
        "../envs/report.yaml"
    shell:
        launch("list_fetched", "{input:q}", shown=True)

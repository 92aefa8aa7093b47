# Pictures, labels and reports -> samples_{split}.parquet, {split}.lmdb, fingerprint.json, audit.json
# An external test set, likewise -> results/{run}/external/{external}/, and overlap.json: who of it is in train or val
# Names of towers -> resources/text_encoders/, resources/vision/ (on the login node, which has the net)
# A frozen tower and the data -> features/vision.safetensors, features/text-{encoder}.safetensors

SOURCE = source_facts(DATA["source"])
# What build_lmdb reads: the user's table and pictures, or what the demo draws, or what the hub has.
MANIFEST = f"{RESULTS}/demo/manifest.csv" if SOURCE.is_drawn else DATA["manifest"]
if SOURCE.is_drawn:
    IMAGE_ROOT = f"{RESULTS}/demo/images"
elif "hub_dataset" in DATA:
    IMAGE_ROOT = hub_folder("datasets", DATA["hub_dataset"])
else:
    IMAGE_ROOT = DATA["manifest"] if SOURCE.holds_images else DATA["image_root"]


if SOURCE.is_drawn:

    rule make_demo_data:
        """Draws fundus photographs and writes their reports."""
        output:
            manifest="<results>/demo/manifest.csv",
            images=directory("<results>/demo/images"),
        params:
            code=code_hash("make_demo_data"),
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
                "--patients {params.patients}",
                "--seed {params.seed}",
                "--threads {threads}",
                "--output-manifest {output.manifest}",
                "--output-images {output.images}",
            )


rule build_lmdb:
    """Crops to the fundus, resizes, splits by patient, and stores the pixels where training reads them."""
    input:
        manifest=MANIFEST,
        test_manifest=DATA.get("test_manifest", []),
        images=IMAGE_ROOT if "hub_dataset" in DATA else [],
    output:
        pictures="<results>/data/pictures.parquet",
        samples=multiext(
            "<results>/data/samples", ".parquet", "_train.parquet", "_val.parquet", "_test.parquet"
        ),
        stores=multiext("<results>/data/", "train.lmdb", "val.lmdb", "test.lmdb"),
        fingerprint="<results>/data/fingerprint.json",
    params:
        code=code_hash("build_lmdb"),
        # 16,000 pictures cannot be inputs of a rule; the demo's and the hub's are made by one
        images="" if SOURCE.is_drawn or "hub_dataset" in DATA else folder_digest(IMAGE_ROOT),
        image_root=IMAGE_ROOT,
        source=DATA["source"],
        source_flags=source_flags(DATA),
        class_map=file_sha256(CLASS_MAP) if SOURCE.knows("class_map") else "",
        eye_images=DATA["eye_images"],
        near_duplicates=DATA["near_duplicates"],
        image_size=DATA["image_size"],
        image_encoding=DATA["image_encoding"],
        test_fraction=DATA["test_fraction"],
        val_fraction=DATA["val_fraction"],
        max_bad_fraction=DATA["max_bad_fraction"],
        seed=CONFIG["seed"],
        folder=lambda wildcards, output: Path(output.fingerprint).parent,
    log:
        "<results>/logs/build_lmdb.log",
    benchmark:
        "<results>/benchmarks/build_lmdb.tsv"
    threads: 4
    resources:
        # each thread decodes one photograph at a time
        mem_mb=asked("mem_mb", lambda input: 2000 + 500 * 4),
        runtime=asked("runtime", lambda input: 240),
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "build_lmdb",
            "--source {params.source}",
            "--manifest {input.manifest:q}",
            "--image-root {params.image_root:q}",
            "{params.source_flags}",
            "--class-map {CLASS_MAP:q}" if SOURCE.knows("class_map") else "",
            "--eye-images {params.eye_images}",
            "--near-duplicates {params.near_duplicates}",
            "--image-size {params.image_size}",
            "--image-encoding {params.image_encoding}",
            "--test-fraction {params.test_fraction}",
            "--val-fraction {params.val_fraction}",
            "--max-bad-fraction {params.max_bad_fraction}",
            "--seed {params.seed}",
            "--threads {threads}",
            f"--work-dir {RESULTS}/state",
            "--output-dir {params.folder}",
        )


if EXTERNAL_TESTS:

    rule build_external_lmdb:
        """The same build of a data set that is only evaluated: all of its patients are test patients."""
        input:
            manifest=lambda wildcards: EXTERNAL_TESTS[wildcards.external]["manifest"],
        output:
            samples="<results>/external/{external}/samples_test.parquet",
            store="<results>/external/{external}/test.lmdb",
            pictures="<results>/external/{external}/pictures.parquet",
            fingerprint="<results>/external/{external}/fingerprint.json",
        params:
            code=code_hash("build_lmdb"),
            images=lambda wildcards: folder_digest(external_root(wildcards.external)),
            image_root=lambda wildcards: external_root(wildcards.external),
            source=lambda wildcards: EXTERNAL_TESTS[wildcards.external]["source"],
            source_flags=lambda wildcards, input: source_flags(EXTERNAL_TESTS[wildcards.external])(
                wildcards, input
            ),
            class_map=lambda wildcards: external_class_map(wildcards.external),
            eye_images=lambda wildcards: EXTERNAL_TESTS[wildcards.external]["eye_images"],
            image_size=DATA["image_size"],
            image_encoding=DATA["image_encoding"],
            max_bad_fraction=DATA["max_bad_fraction"],
            seed=CONFIG["seed"],
            folder=lambda wildcards, output: Path(output.fingerprint).parent,
        log:
            "<results>/logs/build_external_lmdb/{external}.log",
        benchmark:
            "<results>/benchmarks/build_external_lmdb/{external}.tsv"
        threads: 4
        resources:
            mem_mb=asked("mem_mb", lambda input: 2000 + 500 * 4),
            runtime=asked("runtime", lambda input: 240),
        conda:
            "../envs/train.yaml"
        shell:
            launch(
                "build_lmdb",
                "--only-test",
                "--source {params.source}",
                "--manifest {input.manifest:q}",
                "--image-root {params.image_root:q}",
                "{params.source_flags}",
                "{params.class_map}",
                "--eye-images {params.eye_images}",
                "--near-duplicates ignore",
                "--image-size {params.image_size}",
                "--image-encoding {params.image_encoding}",
                "--test-fraction 1",
                "--val-fraction 0",
                "--max-bad-fraction {params.max_bad_fraction}",
                "--seed {params.seed}",
                "--threads {threads}",
                f"--work-dir {RESULTS}/state/external/{{wildcards.external}}",
                "--output-dir {params.folder}",
            )

    rule find_overlap:
        """Whether its people are in train or val: a score is external where their images, ids and texts are not."""
        input:
            samples=expand("<results>/data/samples_{split}.parquet", split=["train", "val"]),
            stores=expand("<results>/data/{split}.lmdb", split=["train", "val"]),
            pictures="<results>/data/pictures.parquet",
            fingerprint="<results>/data/fingerprint.json",
            external=multiext(
                "<results>/external/{external}/",
                "samples_test.parquet",
                "test.lmdb",
                "pictures.parquet",
                "fingerprint.json",
            ),
        output:
            "<results>/external/{external}/overlap.json",
        params:
            code=code_hash("find_overlap"),
            data=lambda wildcards, input: Path(input.fingerprint).parent,
            folder=lambda wildcards, output: Path(output[0]).parent,
        log:
            "<results>/logs/find_overlap/{external}.log",
        benchmark:
            "<results>/benchmarks/find_overlap/{external}.tsv"
        threads: 4
        resources:
            mem_mb=asked("mem_mb", lambda input: 8000),
            runtime=asked("runtime", lambda input: 120),
        conda:
            "../envs/train.yaml"
        shell:
            launch(
                "find_overlap",
                "--data-dir {params.data}",
                "--external-dir {params.folder}",
                "--threads {threads}",
                "--output {output}",
            )


rule audit_data:
    """Counts, leaks, copies, sides, shortcuts, and what each tokenizer makes of the reports; reads all splits."""
    input:
        samples=rules.build_lmdb.output.samples,
        pictures=rules.build_lmdb.output.pictures,
        fingerprint=rules.build_lmdb.output.fingerprint,
        encoders=[encoder_dir(encoder) for encoder in MODEL["text_encoders"]],
    output:
        "<results>/data/audit.json",
    params:
        code=code_hash("audit_data"),
        folder=lambda wildcards, input: Path(input.fingerprint).parent,
        encoders=" ".join(
            f"--encoder {encoder}={shlex.quote(encoder_dir(encoder))}" for encoder in MODEL["text_encoders"]
        ),
        context_length=MODEL["context_length"],
    log:
        "<results>/logs/audit_data.log",
    benchmark:
        "<results>/benchmarks/audit_data.tsv"
    # What it finds should be read before device hours are spent, so it goes first; but no training waits for it as
    # ancient(): snakemake 9.27 looks at no other change downstream of a job that runs, even where that edge is ancient.
    priority: 100
    resources:
        mem_mb=asked("mem_mb", lambda input: 8000),
        runtime=asked("runtime", lambda input: 120),
    conda:
        "../envs/train.yaml"
    shell:
        launch(
            "audit_data",
            "--data-dir {params.folder}",
            "{params.encoders}",
            "--context-length {params.context_length}",
            "--output {output}",
        )


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
            code=code_hash("make_demo_encoder"),
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
        """Brings a BERT and its tokenizer from the hub, or from a local folder, at one revision."""
        output:
            directory("resources/text_encoders/{slug}"),
        wildcard_constraints:
            slug="|".join(map(re.escape, FETCHED_ENCODERS)),
        params:
            code=code_hash("fetch_text_encoder"),
            name=lambda wildcards: FETCHED_ENCODERS[wildcards.slug],
            source=lambda wildcards: MODEL["text_encoders"][FETCHED_ENCODERS[wildcards.slug]]["source"],
            revision=lambda wildcards: MODEL["text_encoders"][FETCHED_ENCODERS[wildcards.slug]].get(
                "revision", "main"
            ),
        log:
            "resources/logs/fetch_text_encoder/{slug}.log",
        conda:
            "../envs/train.yaml"
        shell:
            launch(
                "fetch_text_encoder",
                "--name {params.name}",
                "--source {params.source:q}",
                "--revision {params.revision:q}",
                "--output {output:q}",
            )


if vision_weights():

    localrules:
        fetch_vision_weights,

    rule fetch_vision_weights:
        """The initial weights of the image tower, as one safetensors file."""
        output:
            vision_weights(),
        params:
            code=code_hash("fetch_vision_weights"),
            architecture=MODEL["vision"].get("architecture", "sizes"),
            weights=MODEL["vision"]["weights"],
        log:
            "resources/logs/fetch_vision_weights.log",
        conda:
            "../envs/train.yaml"
        shell:
            launch(
                "fetch_vision_weights",
                "--architecture {params.architecture:q}",
                "--weights {params.weights:q}",
                "--output {output}",
            )


if "hub_dataset" in DATA:

    localrules:
        fetch_dataset,

    rule fetch_dataset:
        """The pictures of a data set on the hub, at one revision."""
        output:
            directory(IMAGE_ROOT),
        params:
            code=code_hash("fetch_dataset"),
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
                "--source {params.source:q}",
                "--revision {params.revision:q}",
                "--image-column {params.image_column:q}",
                "--output {output:q}",
            )


localrules:
    fetch,


rule fetch:
    """Whatever comes from the net, and nothing else: snakemake fetch, or make fetch."""
    input:
        IMAGE_ROOT if "hub_dataset" in DATA else [],
        [encoder_dir(encoder) for encoder in MODEL["text_encoders"]],
        vision_weights(),


if CACHES_VISION or CACHES_TEXT:

    rule cache_features:
        """A frozen tower over train and val, once for all trials."""
        input:
            samples=expand("<results>/data/samples_{split}.parquet", split=["train", "val"]),
            stores=expand("<results>/data/{split}.lmdb", split=["train", "val"]),
            fingerprint="<results>/data/fingerprint.json",
            encoder=lambda wildcards: encoder_dir(cached_encoder(wildcards)),
            vision=vision_weights(),
        output:
            "<results>/features/{tower}.safetensors",
        wildcard_constraints:
            tower="|".join(TOWERS),
        params:
            code=code_hash("cache_features"),
            recipe=lambda wildcards: features_recipe(cached_encoder(wildcards)),
            tower=lambda wildcards: TOWERS[wildcards.tower][0],
            data=lambda wildcards, input: Path(input.fingerprint).parent,
            vision=vision_flag(),
            device=TRAINING["device"],
        log:
            "<results>/logs/cache_features/{tower}.log",
        benchmark:
            "<results>/benchmarks/cache_features/{tower}.tsv"
        threads: 1
        resources:
            **{
                **requested(
                    lambda input: {
                        "mem_mb": requests.memory_mb(64, DATA["image_size"], GPUS),
                        "runtime": requests.runtime_minutes(
                            sum(split["samples"] for split in planned(input.fingerprint)["splits"].values()),
                            GPUS,
                        ),
                    }
                ),
                "gpu": min(1, GPUS),
            },
        conda:
            "../envs/train.yaml"
        shell:
            launch(
                "cache_features",
                "--recipe {params.recipe:q}",
                "--tower {params.tower}",
                "--data-dir {params.data}",
                "--encoder-dir {input.encoder:q}",
                "{params.vision}",
                "--device {params.device}",
                "--output {output}",
            )

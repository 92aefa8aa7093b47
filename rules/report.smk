# REQUIRED INPUTS: every stage's JSON, CSV and parquet, as the rules before this leave them.
#
# OUTPUTS: run.json: the config and the trials that follow from it; report/index.html with its figures, tables and
# documents; on request a plan of the run, printed.
#
# STEPS:
#   1. Record the run, while it trains.
#   2. Build the report, once all is there.
#   3. Plan the run, where it is asked for.
import yaml


localrules:
    record_run,
    build_report,


# tracking is no part of the answer: turned on, it must rerun nothing
RECORDED = {key: value for key, value in CONFIG.items() if key != "tracking"}


rule record_run:
    """The config and the trials that follow from it, for whoever asks how far the run is."""
    output:
        "<results>/run.json",
    params:
        **runs("record_run"),
        # as a function, since snakemake looks for wildcards in texts, and a pattern may hold {3} or {dataset_index}
        config=lambda wildcards: canonical_json(RECORDED),
        # in the order of stages and slots, which a report follows; canonical JSON would sort it
        training_runs=json.dumps(JOBS.all_epochs_added()),
        facts=json.dumps(JOBS.facts_to_tell()),
        initial=INITIAL,
    log:
        "<results>/logs/record_run.log",
    conda:
        "../envs/report.yaml"
    # first, since it is asked for while the others run
    priority: 1
    shell:
        launch(
            "record_run",
            "--config {params.config:q} --training-runs {params.training_runs:q} --facts {params.facts:q}",
            "--initial {params.initial} --output {output}",
        )


SECTIONS = yaml.safe_load((SCRIPTS / "retclip/report/templates/sections.yaml").read_text(encoding="utf-8"))
# The figures of the page: name -> category and caption, which speaks of a score as long as nobody has read the run.
FIGURES = {
    name: entry
    for figures in SECTIONS.values()
    for name, entry in figures.items()
    if (STRATEGY.has_rungs or not entry.get("of_rungs"))
    and (JOBS.of_kind("subset") or not entry.get("of_fractions"))
}
UNREAD = {
    "metric": "score",
    "test_metric": "score",
    "encoder": "the recommended text encoder",
    "search_encoder": SEARCH_ENCODER,
    "drawn": "patients" if CONFIG["final"]["seeds"] == 1 else "patients and seeds",
    "seed": "",
}


# what a text encoder's own search leaves beside its leaderboard
ENCODER_CHOICES = ["best.json", *(["confirm.csv"] if CONFIRM else [])] if JOBS.searched_encoders else []
REPORT_INPUTS = dict(
    run="<results>/run.json",
    audit="<results>/data/audit.json",
    fingerprint="<results>/data/fingerprint.json",
    find_lr=multiext("<results>/find_lr/", "curve.csv", "suggestion.json"),
    boards=expand(
        "<results>/{stage}/leaderboard.csv",
        stage=["phase1", "phase2", *(["confirm"] if CONFIRM else [])],
    ),
    decisions=expand("<results>/{file}", file=["phase1/best.json", "phase2/best.json", "best.json"]),
    bracket="<results>/phase2/bracket-0.json",
    searched=[
        f"<results>/{stage}/{trial}/{file}"
        for stage, trials in TRAINING_RUNS.items()
        if stage != "final"
        for trial in trials
        for file in ("metrics.json", "history.csv", "val_predictions.parquet")
    ],
    encoders=expand(
        "<results>/encoders/{encoder}/{file}",
        encoder=[encoder for encoder in MODEL["text_encoders"] if JOBS.of_encoder(encoder)],
        file=["leaderboard.csv", *ENCODER_CHOICES],
    ),
    finals=[
        f"<results>/final/{trial}/{file}"
        for trial in FINALS
        for file in ("metrics.json", "history.csv", "evaluation.json", "predictions.parquet")
    ],
    recommendation="<results>/final/recommendation.json",
    importances="<results>/phase2/importances.csv",
    # as paths: with outputs of rules.* among thousands of inputs snakemake takes seconds
    initial=multiext(f"<results>/final/{INITIAL}/", "evaluation.json", "predictions.parquet"),
    prompts=f"<results>/final/{SHOWN}/prompts.json",
    references="<results>/final/reference_models.json",
    examples=f"<results>/final/{SHOWN}/qualitative_examples.npz",
    external=EXTERNAL_EVALUATIONS,
)
REPORT_DOCUMENTS = ("results.json", "summary.md", "methods.md", "checklist.md", "references.bib")


rule build_report:
    """One self-contained page, and the same figures as files for snakemake --report."""
    input:
        **REPORT_INPUTS,
    output:
        page=report("<results>/report/index.html", category="Report", caption="captions/page.rst"),
        trials=report("<results>/report/trials.csv", category="Report", caption="captions/trials.rst"),
        documents=expand("<results>/report/{name}", name=REPORT_DOCUMENTS),
        tables=directory("<results>/report/tables"),
        figures=list(map(figure, FIGURES)),
        images=expand("<results>/report/figures/{name}.png", name=FIGURES),
    params:
        **runs("build_report"),
        templates=templates_digest(),
        folder=lambda wildcards, input: Path(input.run).parent,
        report=lambda wildcards, output: Path(output.page).parent,
    log:
        "<results>/logs/build_report.log",
    benchmark:
        "<results>/benchmarks/build_report.tsv"
    conda:
        "../envs/report.yaml"
    shell:
        launch(
            "build_report",
            "--run-folder {params.folder} --output-folder {params.report}",
        )


localrules:
    plan_run,


# of the run's own data, '', and of external data sets
CLASS_MAPS = {
    name: in_repository(data["class_map"])
    for name, data in {"": DATA, **EXTERNAL_TESTS}.items()
    if "class_map" in data
}


rule plan_run:
    """What the run will do and cost, printed; changes nothing, and runs whenever it is asked for."""
    params:
        **runs("train_trial"),
        # as a function, since snakemake looks for wildcards in texts, and a pattern may hold {image}
        config=lambda wildcards: canonical_json(CONFIG),
        training_runs=canonical_json(TRAINING_RUNS),
        encoders=canonical_json({name: encoder_dir(name) for name in MODEL["text_encoders"]}),
        groups=lambda wildcards: canonical_json(planned_groups()),
        forks=lambda wildcards, input: "--forks" if jobs_are_forks() else "",
        cores=cores_flag,
        prompts=uncompared(PROMPTS),
        folder=RESULTS,
        images=IMAGE_ROOT,
        class_maps=canonical_json(CLASS_MAPS),
        image_weights=image_weights_flag(),
    log:
        f"{RESULTS}/logs/plan_run.log",
    conda:
        "../envs/report.yaml"
    shell:
        launch(
            "plan_run",
            "--config {params.config:q} --training-runs {params.training_runs:q}",
            "--results-dir {params.folder} --code {params.code} --image-root {params.images:q}",
            "--class-maps {params.class_maps:q} --prompts {params.prompts:q} --encoder-dirs {params.encoders:q}",
            "--groups {params.groups:q} {params.forks} {params.cores} {params.image_weights}",
            shown=True,
        )

# run.json and every stage's JSON, CSV and parquet -> report/index.html and the files beside it
# The config and what is known so far -> the plan, printed
import yaml


localrules:
    record_run,
    build_report,


rule record_run:
    """The config and the trainings that follow from it, for whoever asks how far the run is."""
    output:
        "<results>/run.json",
    params:
        code=code_hash("record_run"),
        # tracking is no part of the answer: turned on, it must rerun nothing. As a function, since snakemake looks for
        # wildcards in texts, and a pattern of the config may hold {3} or {dataset_index}
        config=lambda wildcards: canonical_json(
            {key: value for key, value in CONFIG.items() if key != "tracking"}
        ),
        # in the order of stages and slots, which a report follows; canonical JSON would sort it
        trainings=json.dumps(
            {
                stage: {trial: epochs_added(stage, trial) for trial in trials}
                for stage, trials in TRAININGS.items()
            }
        ),
        # of what does not follow from stage and config: a command of thousands of trials could not be started
        facts=json.dumps(
            {
                stage: {
                    trial: {**facts_of(stage, trial), "text_encoder": encoder_of(stage, trial)}
                    for trial in (["baseline"] if stage == "phase1" else TRAININGS[stage])
                }
                for stage in ("phase1", "confirm", "encoders", "final")
            }
        ),
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
            "--config {params.config:q}",
            "--trainings {params.trainings:q}",
            "--facts {params.facts:q}",
            "--initial {params.initial}",
            "--output {output}",
        )


SECTIONS = yaml.safe_load((SCRIPTS / "retclip/report/templates/sections.yaml").read_text(encoding="utf-8"))
# The figures of the page: name -> category and caption, which speaks of a score as long as nobody has read the run.
FIGURES = {
    name: entry
    for figures in SECTIONS.values()
    for name, entry in figures.items()
    if STRATEGY.has_rungs or not entry.get("of_rungs")
}
UNREAD = {
    "metric": "score",
    "test_metric": "score",
    "encoder": MODEL["search_encoder"],
    "drawn": "patients" if CONFIG["final"]["seeds"] == 1 else "patients and seeds",
    "seed": "",
}


rule build_report:
    """One self-contained page, and the same figures as files for snakemake --report."""
    input:
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
            for stage, trials in TRAININGS.items()
            if stage != "final"
            for trial in trials
            for file in ("metrics.json", "history.csv", "val_predictions.parquet")
        ],
        encoders=expand(
            "<results>/encoders/{encoder}/leaderboard.csv",
            encoder=MODEL["text_encoders"] if ENCODER_TRIALS else [],
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
        looks=f"<results>/final/{SHOWN}/looks.npz",
        external=EXTERNAL_EVALUATIONS,
    output:
        page=report("<results>/report/index.html", category="Report", caption="captions/page.rst"),
        trials=report("<results>/report/trials.csv", category="Report", caption="captions/trials.rst"),
        documents=[
            f"<results>/report/{name}"
            for name in ("results.json", "summary.md", "methods.md", "checklist.md", "references.bib")
        ],
        tables=directory("<results>/report/tables"),
        figures=[
            report(
                f"<results>/report/figures/{name}.svg",
                category=entry["category"],
                caption=f"captions/{entry['category'].lower()}.rst",
                labels={"figure": entry["caption"].format(**UNREAD)},
            )
            for name, entry in FIGURES.items()
        ],
        pictures=[f"<results>/report/figures/{name}.png" for name in FIGURES],
    params:
        code=code_hash("build_report"),
        # a figure's style and a metric's label are no code, but they change the page
        templates=sha256_of(
            [
                file_sha256(path)
                for path in (
                    *sorted(REPOSITORY.glob("scripts/retclip/report/templates/**/*.*")),
                    *(SCRIPTS / name for name in DECLARATIONS),
                )
            ]
        ),
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
            "--run-folder {params.folder}",
            "--output-folder {params.report}",
        )


localrules:
    plan_run,


rule plan_run:
    """What the run will do and cost, printed; changes nothing, and runs whenever it is asked for."""
    params:
        config=canonical_json(CONFIG),
        trainings=canonical_json({stage: list(trials) for stage, trials in TRAININGS.items()}),
        folder=RESULTS,
        code=code_hash("train_trial"),
    log:
        f"{RESULTS}/logs/plan_run.log",
    conda:
        "../envs/report.yaml"
    shell:
        launch(
            "plan_run",
            "--config {params.config:q}",
            "--trainings {params.trainings:q}",
            "--results-dir {params.folder}",
            "--code {params.code}",
            shown=True,
        )

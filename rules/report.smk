# Every stage's JSON, CSV and parquet -> report/index.html and its figures
# The config and what is known so far -> the plan, printed


localrules:
    build_report,


FIGURES = {
    "class_counts": ("Data", "Labelled eyes or patients per class and split."),
    "find_lr": ("Learning rate", "The range test: loss against learning rate."),
    "rank_phase1": ("Search", "Phase 1: every trial of the grid with its standard error."),
    "rank_phase2": ("Search", "Phase 2: every trial with its standard error."),
    "learning_curves": ("Search", "Validation score per epoch."),
    "winner_vs_default": ("Result", "The tuned winner beside the default config on test."),
    "encoders": ("Result", "The text encoders side by side on test, with chance."),
    "confusion_winner": ("Result", "Confusion matrix of the winner on test."),
    "confusion_baseline": ("Result", "Confusion matrix of the default config on test."),
}


rule build_report:
    """One self-contained page, and the same figures as files for snakemake --report."""
    input:
        audit="results/{run}/data/audit.json",
        fingerprint="results/{run}/data/fingerprint.json",
        find_lr=multiext("results/{run}/find_lr/", "curve.csv", "suggestion.json"),
        boards=expand(
            "results/{{run}}/{stage}/leaderboard.csv",
            stage=["phase1", "phase2", *(["confirm"] if CONFIRM else [])],
        ),
        decisions=expand("results/{{run}}/{file}", file=["phase1/best.json", "phase2/best.json", "best.json"]),
        searched=[
            f"results/{{run}}/{stage}/{trial}/{file}"
            for stage, trials in TRAININGS.items()
            if stage != "final"
            for trial in trials
            for file in ("metrics.json", "history.csv")
        ],
        encoders=expand(
            "results/{{run}}/encoders/{encoder}/leaderboard.csv",
            encoder=MODEL["text_encoders"] if ENCODER_TRIALS else [],
        ),
        finals=[
            f"results/{{run}}/final/{trial}/{file}"
            for trial in FINALS
            for file in ("metrics.json", "history.csv", "evaluation.json", "predictions.parquet")
        ],
        recommendation="results/{run}/final/recommendation.json",
        importances="results/{run}/phase2/importances.csv",
    output:
        page=report("results/{run}/report/index.html", category="Report"),
        trials=report("results/{run}/report/trials.csv", category="Report"),
        figures=[
            report(
                f"results/{{run}}/report/figures/{name}.svg", category=category, labels={"figure": caption}
            )
            for name, (category, caption) in FIGURES.items()
        ],
    params:
        code=code_hash("build_report"),
        # a figure's style is no code, but it changes the page
        templates=folder_digest(REPOSITORY / "scripts/retclip/report/templates"),
        private="--private" if CONFIG["privacy"]["private"] else "",
        config=canonical_json(CONFIG),
        trainings=canonical_json(TRAININGS),
        folder=lambda wildcards: f"results/{wildcards.run}",
        figures=lambda wildcards, output: Path(output.figures[0]).parent,
    log:
        "results/{run}/logs/build_report.log",
    benchmark:
        "results/{run}/benchmarks/build_report.tsv"
    conda:
        "../envs/report.yaml"
    shell:
        launch(
            "build_report",
            "--run-folder {params.folder}",
            "--config {params.config:q}",
            "--trainings {params.trainings:q}",
            "{params.private}",
            "--output-page {output.page}",
            "--output-trials {output.trials}",
            "--output-figures {params.figures}",
        )


localrules:
    plan_run,


rule plan_run:
    """What the run will do and cost, printed; changes nothing, and runs whenever it is asked for."""
    params:
        config=canonical_json(CONFIG),
        trainings=canonical_json({stage: len(trials) for stage, trials in TRAININGS.items()}),
        folder=f"results/{RUN}",
    log:
        f"results/{RUN}/logs/plan_run.log",
    conda:
        "../envs/report.yaml"
    shell:
        launch(
            "plan_run",
            "--config {params.config:q}",
            "--trainings {params.trainings:q}",
            "--results-dir {params.folder}",
            shown=True,
        )

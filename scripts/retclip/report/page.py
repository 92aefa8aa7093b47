"""The report as files: one self-contained page, and beside it every figure, table and number."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from retclip.core.config import Config
from retclip.core.io import atomic, write_csv, write_json
from retclip.core.recorded import with_nulls
from retclip.report import formatting as wording
from retclip.report.answer import answer, tiles, verdict
from retclip.report.checklist import checklist
from retclip.report.documents import optimism, results
from retclip.report.drawing import as_png, as_svg, inlined, use_style
from retclip.report.examples import examples
from retclip.report.figures import FIGURES, captions
from retclip.report.interactive import interactive_plots, plotting_script
from retclip.report.limitations import elsewhere, limits, warnings
from retclip.report.methods import methods
from retclip.report.privacy import without_paths
from retclip.report.progress import eta, stages, still_to_come
from retclip.report.run_folder import RunFolder
from retclip.report.stability import choices_by_one_seed
from retclip.report.tables import Captioned, all_tables
from retclip.report.trials import write_trials

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
# what every overlay is laid over
BASE_CONFIG = Path(__file__).resolve().parents[3] / "config/config.yaml"
# id, title, and the template of each section; one that has nothing to say yet is left out of an interim page
SECTIONS = (
    ("asked", "What was asked"),
    ("data", "Data and audit"),
    ("learning-rate", "Learning rate"),
    ("phase1", "Phase 1"),
    ("phase2", "Phase 2"),
    ("stability", "How sure the choice is"),
    ("choice", "The choice"),
    ("curves", "Learning curves"),
    ("gain", "Winner and default"),
    ("encoders", "Text encoders"),
    ("classes", "Classes"),
    ("external", "Data from elsewhere"),
    ("looks", "What the winner sees"),
    ("limits", "What can be concluded"),
    ("trials", "All trainings"),
    ("cost", "Cost and utilisation"),
    ("failures", "Failures"),
    ("provenance", "Provenance"),
    ("checklist", "Reporting checklist"),
)


class Parts(NamedTuple):
    """What the page and the documents beside it are made of."""

    figures: dict[str, str]
    captions: dict[str, str]
    tables: dict[str, Captioned]


def build_report(run: RunFolder, folder: Path) -> None:
    """Writes index.html, figures/, tables/, trials.csv, results.json, summary.md, methods.md, checklist.md and
    references.bib. An interim report has no documents: they would state what is not known yet. Raises ValueError where
    `folder` holds files of these names that no report wrote."""
    _refuse_others_files(folder)
    parts = Parts(_write_figures(run, folder / "figures"), captions(run), all_tables(run))
    _write_tables(parts.tables, folder / "tables")
    write_trials(run, folder / "trials.csv")
    environment = _environment()
    content = _content(run, parts)
    _write(folder / "index.html", environment.get_template("index.html.jinja").render(content))
    if run.interim:
        return
    write_json(folder / "results.json", results(run))
    for name in ("summary.md", "methods.md", "checklist.md"):
        _write(folder / name, environment.get_template(f"{name}.jinja").render(content))
    _write(folder / "references.bib", (TEMPLATES / "references.bib").read_text(encoding="utf-8"))


def _refuse_others_files(folder: Path) -> None:
    """A report writes trials.csv before all of these."""
    names = ("index.html", "results.json", "summary.md", "methods.md", "checklist.md", "references.bib")
    found = [name for name in names if (folder / name).exists()]
    if found and not (folder / "trials.csv").exists():
        raise ValueError(f"{folder}: holds {found[0]}, which is no report's; give a new or empty folder.")


def _write_figures(run: RunFolder, folder: Path) -> dict[str, str]:
    """Draws every figure that can be drawn, as {name}.svg and {name}.png; returns name -> SVG text."""
    import matplotlib.pyplot as plt

    use_style()
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for name, entry in FIGURES.items():
        if not entry.is_ready(run):
            continue
        figure = entry.draw(run)
        drawn[name] = as_svg(figure, name)
        _write(folder / f"{name}.svg", drawn[name])
        with atomic(folder / f"{name}.png") as path:
            path.write_bytes(as_png(figure))
        plt.close(figure)
    return drawn


def _write_tables(tables: dict[str, Captioned], folder: Path) -> None:
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    for name, (_, content) in tables.items():
        write_csv(folder / f"{name}.csv", pd.DataFrame(content.rows, columns=content.heads))


def _content(run: RunFolder, parts: Parts) -> dict[str, Any]:
    """The variables of all templates."""
    from markupsafe import Markup

    private = run.config["privacy"]["private"]
    config = without_paths(run.config) if private else run.config
    plots = interactive_plots(run)
    return {
        "title": config["run"],
        "style": Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        "script": Markup((TEMPLATES / "script.js").read_text(encoding="utf-8")),
        "plotting_script": Markup(plotting_script()) if plots else "",
        "plots": {name: Markup(plot) for name, plot in plots.items()},
        "sections": [(name, title) for name, title in SECTIONS if _has_content(run, parts, name)],
        "figures": {name: Markup(inlined(svg, name)) for name, svg in parts.figures.items()},
        "captions": parts.captions,
        "tables": parts.tables,
        "answer": answer(run) if run.is_decided else [],
        "learned": verdict(run).learned if run.is_decided else False,
        "tiles": tiles(run) if run.is_decided else [],
        "warnings": warnings(run),
        "limits": limits(run) if run.is_decided and run.audit else [],
        "elsewhere": elsewhere(run) if run.is_decided and run.external else [],
        "optimism": optimism(run) if run.is_decided else [],
        "stages": stages(run),
        "still_to_come": still_to_come(run),
        "eta": eta(run),
        "one_seed": choices_by_one_seed(run),
        "checklist": checklist(run),
        **(methods(run, config) if run.is_decided else {}),
        "openings": wording.openings(run.opened),
        "examples": [] if private else examples(run.looks),
        "run": run,
        "wording": wording,
        "metric": wording.metric_name(run.metric),
        "test_metric": wording.metric_name(run.test_metric),
        "config": config,
        "overlay": overlay_text(config),
    }


def overlay_text(config: Config) -> str:
    """The YAML that gives `config` again when it is laid over config.yaml; paths as the record has them."""
    import yaml

    base = yaml.safe_load(BASE_CONFIG.read_text(encoding="utf-8"))
    return yaml.safe_dump(with_nulls(config, base), sort_keys=False, allow_unicode=True, width=100)


def _has_content(run: RunFolder, parts: Parts, section: str) -> bool:
    needed = {
        "data": "splits" in parts.tables,
        "learning-rate": "find_lr" in parts.figures,
        "phase1": "phase1" in run.boards,
        "phase2": "phase2" in run.boards,
        "stability": "stability" in parts.figures,
        "choice": "recipe" in parts.tables,
        "curves": "learning_curves" in parts.figures,
        "gain": run.is_decided,
        "encoders": "encoders" in parts.tables,
        "classes": run.is_decided,
        "external": "external" in parts.tables,
        "looks": run.looks is not None,
        "limits": run.is_decided and run.audit is not None,
        "trials": "trials" in parts.tables,
        "cost": "cost" in parts.tables,
        "checklist": not run.interim,
    }
    return needed.get(section, True)


def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and name.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Markdown lets HTML through
    environment.filters["md"] = lambda text: str(text).replace("&", "&amp;").replace("<", "&lt;")
    return environment


def _write(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")

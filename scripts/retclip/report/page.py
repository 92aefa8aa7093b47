"""The report as files: one self-contained page, and beside it every figure, table and number.

What the page shows stands in report/sections; here it is laid out.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from retclip.core.io import atomic, write_csv, write_json
from retclip.core.plain_text import markdown
from retclip.report import formatting as wording
from retclip.report.answer import answer
from retclip.report.cells import Captioned, Table
from retclip.report.checklist import checklist
from retclip.report.documents import results
from retclip.report.drawing import as_png, as_svg, use_style
from retclip.report.encoder_choices import decision_of
from retclip.report.first_screen import alarm, headline, points, tiles, tuned_name
from retclip.report.inlining import inlined
from retclip.report.interactive import interactive_plots, plotting_script
from retclip.report.layout import read_captions, read_sections
from retclip.report.limitations import external_limitations, limitations, warnings
from retclip.report.methods import methods
from retclip.report.names import trial_names
from retclip.report.privacy import shown_config
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section
from retclip.report.sections.trials import shown_trials
from retclip.report.trials import write_trials

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
MACROS = '{% from "macros.html.jinja" import table, figure with context %}\n'


class LaidOut(NamedTuple):
    """A section as HTML. name: its id on the page."""

    name: str
    title: str
    html: str


def build_report(run: RunFolder, folder: Path) -> None:
    """Writes index.html, figures/, tables/, trials.csv, results.json, summary.md, methods.md, checklist.md and
    references.bib. An interim report has no documents: they would state what is not known yet. Raises ValueError where
    `folder` holds files of these names that no report wrote."""
    _refuse_others_files(folder)
    sections = {name: section for name, section in read_sections().items() if section.is_ready(run)}
    use_style()
    drawn = {name: draw(run) for section in sections.values() for name, draw in section.figures.items()}
    figures = write_figures(drawn, folder / "figures")
    tables = {name: table for section in sections.values() for name, table in section.tables(run).items()}
    write_tables(tables, folder / "tables")
    write_trials(run, folder / "trials.csv")
    write_text(folder / "index.html", _page(run, sections, figures, tables))
    if run.interim:
        return
    write_json(folder / "results.json", results(run))
    environment, content = _environment(), {**_common(run), "tables": tables, **_of_documents(run)}
    for name in ("summary.md", "methods.md", "checklist.md"):
        write_text(folder / name, environment.get_template(f"{name}.jinja").render(content))
    write_text(folder / "references.bib", (TEMPLATES / "references.bib").read_text(encoding="utf-8"))


def _refuse_others_files(folder: Path) -> None:
    """A report writes trials.csv before all of these."""
    names = ("index.html", "results.json", "summary.md", "methods.md", "checklist.md", "references.bib")
    found = [name for name in names if (folder / name).exists()]
    if found and not (folder / "trials.csv").exists():
        raise ValueError(f"{folder}: holds {found[0]}, which is no report's; give a new or empty folder.")


def write_figures(figures: "Mapping[str, Figure | None]", folder: Path) -> dict[str, str]:
    """Every figure that there is, as {name}.svg and {name}.png; returns name -> SVG text."""
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for name, figure in figures.items():
        if figure is None:
            continue
        drawn[name] = as_svg(figure, name)
        write_text(folder / f"{name}.svg", drawn[name])
        with atomic(folder / f"{name}.png") as path:
            path.write_bytes(as_png(figure))
        plt.close(figure)
    return drawn


def write_tables(tables: dict[str, Captioned], folder: Path) -> None:
    """Each that is not in a file of its own, as {name}.csv."""
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        if table.file is None:
            write_csv(folder / f"{name}.csv", pd.DataFrame(table.content.rows, columns=table.content.heads))


def _page(run: RunFolder, sections: dict[str, Section], figures: dict[str, str], tables: dict[str, Captioned]) -> str:
    """index.html. figures: name -> SVG text."""
    content = {
        **_common(run),
        "linked": {trial.id: trial.name for trial in shown_trials(run)} if "trials" in sections else {},
        "captions": captions(run),
        "tables": tables,
        "plots": interactive_plots(run),
    }
    return rendered(sections, figures, content, {name: section.words(run) for name, section in sections.items()})


def rendered(
    sections: Mapping[str, Section],
    figures: Mapping[str, str],
    content: Mapping[str, Any],
    words: Mapping[str, Mapping[str, Any]],
) -> str:
    """A page of its own. figures: name -> SVG text. content: the variables of all templates, with title, run, captions,
    tables, linked (trial -> its name, of those that have a part of the page) and plots (figure -> Plotly's JSON).
    words: section -> variables that it alone has."""
    from markupsafe import Markup

    environment, plots = _environment(sections), content["plots"]
    content = {
        **content,
        "figures": {name: Markup(inlined(svg, name, content["linked"])) for name, svg in figures.items()},
        "plots": {name: Markup(plot) for name, plot in plots.items()},
        "titles": {name: section.title for name, section in sections.items()},
    }
    laid_out = []
    for name, section in sections.items():
        text = environment.get_template(_file(name)).render({**content, **words.get(name, {})})
        laid_out.append(LaidOut(name, section.title, Markup(text)))
    return environment.get_template("index.html.jinja").render(
        **content,
        sections=laid_out,
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup((TEMPLATES / "script.js").read_text(encoding="utf-8")),
        plotting_script=Markup(plotting_script()) if plots else "",
    )


def captions(run: RunFolder) -> dict[str, str]:
    """Figure -> its caption, filled in."""
    words = {
        "names": defaultdict(lambda: "the baseline", trial_names(run)),
        "metric": wording.metric_name(run.metric),
        "test_metric": wording.metric_name(run.test_metric),
        "encoder": run.answer_encoder,
        "search_encoder": run.search_encoder,
        "drawn": wording.drawn(run.seeds_each),
        "seed": run.shown_seed,
    }
    return {name: caption.format(**words) for name, caption in read_captions().items()}


def _common(run: RunFolder) -> dict[str, Any]:
    """The variables of every template."""
    return {
        "title": run.config["run"],
        "run": run,
        "wording": wording,
        "names": defaultdict(lambda: "the baseline", trial_names(run)),
        "metric": wording.metric_name(run.metric),
        "test_metric": wording.metric_name(run.test_metric),
    }


def _of_documents(run: RunFolder) -> dict[str, Any]:
    """The variables of summary.md, methods.md and checklist.md."""
    config = shown_config(run.config)
    return {
        "headline": headline(run),
        "tuned_name": tuned_name(run),
        "tuned_id": decision_of(run, run.answer_encoder)["id"],
        "alarm": alarm(run),
        "points": points(run),
        "result": answer(run),
        "tiles": tiles(run),
        "warnings": warnings(run),
        "limitations": limitations(run),
        "external_limitations": external_limitations(run) if run.external else [],
        "checklist": checklist(run),
        "test_set_evaluations": wording.test_set_evaluations(run.evaluated_on_test),
        "config": config,
        **methods(run, config),
    }


def _file(section: str) -> str:
    return f"sections/{section}.html.jinja"


def _environment(sections: Mapping[str, Section] = MappingProxyType({})) -> "Environment":
    from jinja2 import ChoiceLoader, DictLoader, Environment, FileSystemLoader, StrictUndefined

    texts = {_file(name): MACROS + section.text.strip() for name, section in sections.items()}
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(TEMPLATES), DictLoader(texts)]),
        autoescape=lambda name: name is not None and name.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"with_ci": with_ci, "turned": turned}
    environment.filters["md"] = markdown
    return environment


def with_ci(value: str) -> str:
    """A cell "0.812 (0.750 to 0.861)" as HTML whose interval may go to the next line, but is not broken itself."""
    from markupsafe import Markup, escape

    found = re.fullmatch(r"(\S+) (\(\S+ to \S+\))", value)
    return Markup('{} <span class="ci">{}</span>').format(*found.groups()) if found else escape(value)


def turned(table: Table) -> list[list[str]]:
    """The columns of a table as rows, the first of them left out: its cells become the heads."""
    return [
        [head, *cells] for head, cells in zip(table.heads[1:], list(zip(*table.rows, strict=True))[1:], strict=True)
    ]


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")

"""Which items of TRIPOD+AI and CLAIM this run answers, and where on the page; the rest is the authors' to write."""

from pathlib import Path
from typing import NamedTuple

from retclip.report import formatting as wording
from retclip.report.run_folder import RunFolder

ITEMS = Path(__file__).parent / "templates/checklist.yaml"
AUTHORS = "not in the data of a run: for the authors to write"


class Item(NamedTuple):
    """where: the numbers in both statements. anchor: a section of the page, None where the run cannot answer."""

    where: str
    item: str
    answer: str
    anchor: str | None


def checklist(run: RunFolder) -> list[Item]:
    """Every item with this run's answer."""
    import yaml

    config = run.config
    private, shuffled = config["privacy"]["private"], config["controls"]["shuffled_texts"]
    words = {
        "counts": "counts alone, since the run is private" if private else "counts",
        "control": "control on shuffled texts" if shuffled else "no control on shuffled texts",
        "seeds": wording.count(config["final"]["seeds"], "final seed"),
        "external": ", ".join(config["evaluation"].get("external_tests", {})) or "none was configured",
        "groups": "groups of test patients" if _has_groups(run) else "the data have no age, sex, site or camera",
        "examples": _examples(run),
    }
    entries = yaml.safe_load(ITEMS.read_text(encoding="utf-8"))
    there = {"external": bool(run.external), "qualitative-examples": run.examples is not None}
    absent = {name for name, is_there in there.items() if not is_there}
    return [
        Item(where, item, AUTHORS if answer is None else answer.format(**words), None if anchor in absent else anchor)
        for where, item, answer, anchor in entries
    ]


def _examples(run: RunFolder) -> str:
    if run.examples is None:
        return "none was made"
    private = run.config["privacy"]["private"]
    return "a map of the features alone, since the run is private" if private else "occlusion maps of examples"


def _has_groups(run: RunFolder) -> bool:
    return any(final.evaluation.subgroups for final in run.finals)

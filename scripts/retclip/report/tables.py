"""All tables of the report by name, each with what it shows in words."""

from typing import NamedTuple

from retclip.report import formatting as wording
from retclip.report import tables_data, tables_result, tables_run, tables_search
from retclip.report.cells import Table
from retclip.report.formatting import STAGE_NAMES
from retclip.report.run_folder import RunFolder


class Captioned(NamedTuple):
    caption: str
    content: Table


def all_tables(run: RunFolder) -> dict[str, Captioned]:
    """name -> table; those that the run cannot give yet are left out."""
    found = {"asked": Captioned("What each stage was asked for", tables_search.asked(run.config))}
    if run.audit is not None:
        found |= {
            "splits": Captioned("Patients, samples and pictures by split", tables_data.data(run)),
            "findings": Captioned("What the audit looked for, and how often it found it", tables_data.findings(run)),
            "tokens": Captioned(
                f"What each tokenizer makes of the texts, at a context of {run.audit['context_length']} tokens",
                tables_data.tokens(run),
            ),
        }
        if "reconciliation" in run.audit:  # an interim report may find the audit of an earlier version
            found["reconciliation"] = Captioned(
                "What the tables held, and where it went: merged is what another row, image or text stands for, "
                "quarantined what could not be used (audit.json has the reasons)",
                tables_data.reconciliation(run),
            )
        if run.audit["shortcuts"]:
            found["shortcuts"] = Captioned(
                "How well the class can be told without a retina: AUROC by cross-validation, .5 is chance",
                tables_data.shortcuts(run),
            )
    for stage, board in run.boards.items():
        name = STAGE_NAMES[stage]
        chosen = run.decisions.get("best" if stage == "confirm" else stage, {}).get("id")
        more = f", the best {tables_search.MOST_ROWS} of {len(board)}" if len(board) > tables_search.MOST_ROWS else ""
        found[f"leaderboard_{stage}"] = Captioned(
            f"{name}: the leaderboard{more}", tables_search.leaderboard(board, chosen)
        )
    for encoder, board in run.encoder_boards.items():
        found[f"learning_rates_{encoder}"] = Captioned(
            f"Learning rates that {encoder} tried, by validation", tables_search.leaderboard(board, board["id"][0])
        )
    if run.searched.get("confirm"):
        found["seeds"] = Captioned("The finalists by fresh seed, on validation", tables_search.seeds(run))
    over = f"95 % intervals over {wording.drawn(run.seeds_each)}"
    if run.is_decided:
        found |= {
            "recipe": Captioned("The recipe; what tuning changed is set off", tables_search.recipe(run)),
            "winner_vs_default": Captioned(
                f"Every score on test that these data can give, with {over}",
                tables_result.winner_vs_default(run),
            ),
            "per_class": Captioned(
                f"The winner with {run.search_encoder}{run.shown_seed}, per class on test; sensitivity and specificity "
                "at the threshold that is best on validation",
                tables_result.per_class(run),
            ),
            "other_views": Captioned(
                f"The same models seen otherwise, on test{run.shown_seed}", tables_result.other_views(run)
            ),
        }
        groups = tables_result.subgroups(run)
        if groups.rows:
            found["subgroups"] = Captioned(f"The winner in groups of test patients{run.shown_seed}", groups)
        if run.external:
            found["external"] = Captioned(
                "The winners on data from elsewhere, with 95 % intervals over the patients there",
                tables_result.external(run),
            )
        if run.ablations():
            found["one_factor"] = Captioned(
                "One value at a time: the default config with one of the winner's values, against the default config; "
                "each single value in one training, so that other seeds may differ by more",
                tables_result.one_factor(run),
            )
        if run.recommendation is not None:
            found["encoders"] = Captioned(
                f"The winner's recipe with each text encoder, with {over}", tables_result.encoders(run)
            )
    if any(run.trainings().values()):
        found |= {
            "trials": Captioned("Every training of the run", tables_search.trials(run)),
            "cost": Captioned("What each stage cost, each training counted once", tables_run.cost(run)),
            "utilisation": Captioned("How well the devices were used", tables_run.utilisation(run)),
        }
    failures = tables_run.failures(run)
    if failures.rows:
        found["failures"] = Captioned("Trainings that did not run straight to their end", failures)
    found["provenance"] = Captioned("What the run is made of", tables_run.provenance(run))
    return found

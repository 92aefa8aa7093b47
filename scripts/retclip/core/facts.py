"""What a training run is for and how one may end: words that files record, so that nothing is read off a name.

They stand in trial.json (and with it in metrics.json), run.json and leaderboard.csv, and are no part of what
determines weights: training runs of different stages may share their state.
"""

from typing import Any

# trial: a search tries it. tuned: what the study chose. baseline: the config's defaults. control: the tuned
# configuration on reports shuffled between patients. ablation: the baseline with one value of the tuned configuration.
# subset: the tuned configuration on a fraction of the train patients.
KINDS = ("trial", "baseline", "tuned", "control", "ablation", "subset")
# Statuses of metrics.json that leave a training run without a score; both are results.
FAILED = ("diverged", "out_of_memory")
# What will be done for a training run of a plan, with what is there already.
TRAINS, SCORED, PUBLISHED, DONE = "trains", "is scored again", "is published", "is done"


def facts(
    kind: str = "trial",
    *,
    bracket: int | None = None,
    rung: int | None = None,
    slot: int | None = None,
    candidate: str | None = None,
    ablated: str | None = None,
) -> dict[str, Any]:
    """What a trial's specification records. bracket, rung, slot: its place in Phase 2. candidate: the configuration of
    the confirmation that it is one seed of. ablated: the hyperparameter that an ablation takes."""
    assert kind in KINDS, kind
    return {"kind": kind, "bracket": bracket, "rung": rung, "slot": slot, "candidate": candidate, "ablated": ablated}


FACTS = tuple(facts())


def facts_in(document: dict[str, Any]) -> dict[str, Any]:
    """The facts among the keys of a specification; what it does not say is as in `facts`."""
    return facts(**{name: document[name] for name in FACTS if name in document})

"""Our search strategies and other projects' at equal cost over three tasks, beside the best of 20 random trials.

  make bench-search                             all tasks
  make bench-search TASKS="photographs sharp"   some of digits, photographs, sharp

Tables of training runs are made once, into results/bench (search_table.py), and go on where they were stopped. A search
sees the scores of one seed on half of the validation patients, as a user would; the configuration that it ends with is
judged by the other seeds on the other half. The cost is counted in epochs: 20 full training runs, or four brackets of
12 > 5 > 2 training runs at 2/5/10 epochs, which cost 196. The seeds of 100 replays were fixed beforehand. As a ceiling
stands beside the searches the best of all configurations by what is seen: noise alone keeps it from the best there is.
The comparison is on the terminal and in results/bench/search.json.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from running import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))
sys.path.insert(0, str(REPOSITORY / "tests/workflow"))

import search_photographs
from search_baselines import BASELINES
from search_choices import Said
from search_digits import Digits
from search_replay import BUDGET, STRATEGIES, TRIALS, Replay, Way, search_all
from search_sharp import Sharp
from search_table import Table, Values, make_table

FOLDER = Path("results/bench")
TASKS = ("digits", "photographs", "sharp")
REPLAYS = range(100)
WINS, COST, FLAT = 0.75, 0.5, 0.5  # goals
GUARDED = "random, the baseline where nothing was learned"
MOSTLY = 0.5  # a task is flat where the stop rule says so in so many replays


def tasks_of(names: Sequence[str], folder: Path) -> dict[str, tuple[Any, Callable[[int], Table]]]:
    """Name -> task and table of each replay. A task whose data is missing says so, and is left out."""
    found: dict[str, tuple[Any, Callable[[int], Table]]] = {}
    for name in names:
        task: Any
        if name == "sharp":
            task = Sharp()
            found[name] = task, task.table
            continue
        if name == "photographs" and (reason := search_photographs.missing()):
            print(reason, file=sys.stderr)
            continue
        task = Digits() if name == "digits" else search_photographs.Photographs((folder / "photographs").resolve())
        table = make_table(task, folder / f"search_{name}.csv")
        found[name] = task, lambda number, table=table: table
    return found


def rows(ways: dict[str, Way]) -> list[dict[str, Any]]:
    """One a search: wins against random search with their interval, cost of its median, truth of what was chosen."""
    random, found = ways["random"], []
    for name, way in ways.items():
        wins, cost = way.wins(random), way.cost_of(float(np.median(random.ends)))
        compared = way is not random
        found.append({
            "search": name if compared else f"random, best of {TRIALS} single runs",
            "wins": wins if compared else None, "interval": wilson(wins, len(way.ends)) if compared else None,
            "cost": cost, "share_of_budget": None if cost is None else cost / BUDGET,
            "truth": np.quantile(way.ends, [0.25, 0.5, 0.75]).tolist(),
        })  # fmt: skip
    return found


def wilson(share: float, trials: int) -> list[float]:
    """The 95 % interval of a share (Wilson 1927)."""
    z = 1.96
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    return [float(middle - half), float(middle + half)]


def guarded(random: Way, replays: Sequence[Replay], said: Sequence[Said], baseline: Values) -> Way:
    """What best.json has after a random search."""
    ends = [
        end if one.learned else replay.truth_of(baseline)
        for end, replay, one in zip(random.ends, replays, said, strict=True)
    ]
    return Way(np.array(ends))


def together(tasks: dict[str, dict[str, Way]], flat: dict[str, float]) -> list[dict[str, Any]]:
    """Each search of ours over all tasks, replay beside replay, and its goals. flat: task -> share of replays in which
    the stop rule says flat."""
    first = next(iter(tasks.values()))
    ways = {name: Way(np.concatenate([known[name].ends for known in tasks.values()])) for name in first}
    theirs = {name: ways[name].wins(ways["random"]) for name in ways if name in BASELINES}
    best = max(theirs, key=theirs.__getitem__, default=None)
    found = []
    for name in ways:
        if name == "random" or name.partition(",")[0] not in STRATEGIES:
            continue
        # what a model chooses is known at the end alone
        costs = [known[name].cost_of(float(np.median(known["random"].ends)))
                 for known in tasks.values() if known[name].traces]  # fmt: skip
        worst = [known[name].wins(known["random"]) for task, known in tasks.items() if flat[task] >= MOSTLY]
        found.append({
            "search": name,
            f"wins against random (goal {WINS})": ways[name].wins(ways["random"]),
            f"cost of its median on each task, of the budget (goal {COST})":
                "; ".join("never" if cost is None else f"{cost / BUDGET:.2f}" for cost in costs),
            f"wins against {best or 'a baseline'} (goal above 0.5)": best and ways[name].wins(ways[best]),
            f"fewest wins on a flat task (goal {FLAT})": min(worst, default=None),
        })  # fmt: skip
    return found


def _line(cells: Sequence[Any]) -> str:
    shown = ("" if cell is None else f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells)
    return "| " + " | ".join(shown) + " |"


def _print_task(name: str, found: dict[str, Any]) -> None:
    print("\n{}: truth varies by {:.3f} between configurations; after 20 random trials best.json says in {:.2f} of the "
          "replays that they are flat, in {:.2f} that nothing was learned, and ends the search in {:.2f}"
          .format(name, *(found[key] for key in ("spread", "flat", "unlearned", "ends"))))  # fmt: skip
    print("| search | wins against random search (95 % interval) | epochs to its median, of 200 | truth (quartiles) |")
    print("|---|---|---|---|")
    for row in found["rows"]:
        wins = None if row["wins"] is None else "{:.3g} ({:.2f} to {:.2f})".format(row["wins"], *row["interval"])
        low, median, high = row["truth"]
        print(_line([row["search"], wins, row["cost"], f"{median:.3f} ({low:.3f} to {high:.3f})"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS, metavar="task", help=f"of {', '.join(TASKS)} (default: all)")
    options = parser.parse_args()
    if unknown := sorted(set(options.tasks) - set(TASKS)):
        parser.error(f"TASKS: {', '.join(unknown)}; there are {', '.join(TASKS)}")

    searched: dict[str, dict[str, Way]] = {}
    document: dict[str, Any] = {}
    for name, (task, table) in tasks_of(options.tasks, FOLDER).items():
        replays = [Replay(task.space, table(number).answers(number), number) for number in REPLAYS]
        searched[name] = search_all(replays, STRATEGIES)
        said = [replay.said(task.baseline) for replay in replays]
        searched[name][GUARDED] = guarded(searched[name]["random"], replays, said, task.baseline)
        document[name] = {
            "spread": float(np.mean([replay.answers.truth.std() for replay in replays])),
            "flat": float(np.mean([one.is_flat for one in said])),
            "unlearned": float(np.mean([not one.learned for one in said])),
            "ends": float(np.mean([one.ends for one in said])),
            "rows": rows(searched[name]),
        }
        _print_task(name, document[name])
    if searched:
        document["together"] = together(searched, {name: document[name]["flat"] for name in searched})
        print("\nover " + ", ".join(searched) + "\n" + _line(list(document["together"][0])))
        print("|" + "---|" * len(document["together"][0]))
        for row in document["together"]:
            print(_line(list(row.values())))
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "search.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"\n{time.monotonic() - started:.0f} s, {time.process_time():.0f} of a processor")

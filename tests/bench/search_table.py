"""Tables of training runs over which search strategies are replayed: what each run named every view after each epoch.

A table is a CSV file, a row for each configuration and seed, a digit for each view in each epoch: the class that it was
named. So any half of the patients can be scored later. A table that was stopped goes on where it was.
"""

import csv
import itertools
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

Values = dict[str, Any]
# Digits are read in no time, and a row of twenty epochs has more of them than Python's csv allows a cell by itself.
csv.field_size_limit(1 << 24)


class Views(NamedTuple):
    """What is scored. target: the class of each view, 0 to 9 [V]. patient: whose it is [V]."""

    target: np.ndarray
    patient: np.ndarray


class Task(Protocol):
    """One that can be trained with every configuration of a space. baseline: the configuration that nobody searched."""

    name: str
    space: dict[str, list[Any]]
    seeds: tuple[int, ...]
    epochs: int
    baseline: Values

    def views(self) -> Views: ...

    def train(self, values: Values, seed: int) -> Iterable[np.ndarray]:
        """The class that each validation view is named [V], after every epoch."""


class Answers(NamedTuple):
    """What one replay sees, and what is true: scores of one seed on half of the patients, of the others on the rest.

    seen: [configurations, epochs]. named: what that seed's runs named the seen views at their end [configurations, V].
    views: those. truth: [configurations].
    """

    seen: np.ndarray
    named: np.ndarray
    views: Views
    truth: np.ndarray


def configurations(space: dict[str, list[Any]]) -> list[Values]:
    """Every point of the space."""
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*space.values())]


class Table:
    """named: uint8 [configurations, seeds, epochs, V]."""

    def __init__(self, named: np.ndarray, views: Views) -> None:
        self.named, self.views = named, views
        self.right = named == views.target

    def answers(self, number: int) -> Answers:
        """Replay `number` sees one seed and half of the patients, drawn anew; the rest says what is true."""
        generator = np.random.default_rng([11, number])
        patients = np.unique(self.views.patient)
        half = generator.permutation(patients)[: len(patients) // 2]
        is_seen = np.isin(self.views.patient, half)
        seen_seed = number % self.named.shape[1]
        others = [seed for seed in range(self.named.shape[1]) if seed != seen_seed]
        return Answers(
            seen=self.right[:, seen_seed] @ self._weights(is_seen),
            named=self.named[:, seen_seed, -1][:, is_seen],
            views=Views(self.views.target[is_seen], self.views.patient[is_seen]),
            truth=(self.right[:, others, -1] @ self._weights(~is_seen)).mean(axis=1),
        )

    def _weights(self, chosen: np.ndarray) -> np.ndarray:
        """A view's share of the balanced accuracy over the chosen ones."""
        classes, place, counts = np.unique(self.views.target[chosen], return_inverse=True, return_counts=True)
        weights = np.zeros(len(chosen))
        weights[chosen] = 1 / (len(classes) * counts[place])
        return weights


def make_table(task: Task, path: Path) -> Table:
    """Trains what the CSV file at `path` does not hold yet, and reads it."""
    header = [*task.space, "seed", "seconds", *(f"epoch_{epoch}" for epoch in range(1, task.epochs + 1))]
    path.parent.mkdir(parents=True, exist_ok=True)
    known = path.read_text() if path.exists() else ""
    # what was killed may have left half a line
    whole = known[: known.rfind("\n") + 1] or ",".join(header) + "\n"
    if whole != known:
        path.write_text(whole)
    wanted = [(values, seed) for seed in task.seeds for values in configurations(task.space)]
    done = {_key(values, seed) for values, seed, *_ in _rows(task, path)}
    missing = [(values, seed) for values, seed in wanted if _key(values, seed) not in done]
    for number, (values, seed) in enumerate(missing, start=len(wanted) - len(missing) + 1):
        started = time.process_time()
        epochs = ["".join(map(str, named)) for named in task.train(values, seed)]
        cells = [*values.values(), seed, f"{time.process_time() - started:.2f}", *epochs]
        with path.open("a") as stream:
            stream.write(",".join(map(str, cells)) + "\n")
        if number % 50 == 0:
            print(f"{task.name}: {number} of {len(wanted)} training runs", file=sys.stderr, flush=True)
    rows = {_key(values, seed): epochs for values, seed, _, epochs in _rows(task, path)}
    named = np.stack([
        np.stack([rows[_key(values, seed)] for seed in task.seeds]) for values in configurations(task.space)
    ])  # fmt: skip
    print(f"{task.name}: {len(rows)} training runs of {len(named)} configurations, "
          f"{sum(seconds for _, _, seconds, _ in _rows(task, path)):.0f} CPU s")  # fmt: skip
    return Table(named, task.views())


def _rows(task: Task, path: Path) -> Iterator[tuple[Values, int, float, np.ndarray]]:
    """Values, seed, seconds and named classes [epochs, V] of each training run in the file."""
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            values = {name: type(tried[0])(row[name]) for name, tried in task.space.items()}
            digits = [row[f"epoch_{epoch}"] for epoch in range(1, task.epochs + 1)]
            named = np.array([np.frombuffer(line.encode(), np.uint8) - ord("0") for line in digits])
            yield values, int(row["seed"]), float(row["seconds"]), named


def _key(values: Values, seed: int) -> tuple[float, ...]:
    return (*(float(value) for value in values.values()), float(seed))

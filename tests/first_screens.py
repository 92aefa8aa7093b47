"""The first screen of a report: short, and every number of it recomputed from the tables of predictions."""

import html
import json
import re

import pandas as pd
import pytest
from recomputed import mean_accuracy, resampled, score_columns


def plain(element: str) -> str:
    """The text of a piece of HTML."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", element)).split())


def words(text: str) -> list[str]:
    return re.findall(r"\S*\w\S*", text)


def assert_first_screen_is_true(folder, page) -> str:
    """At most 90 words before the figure, sentences of at most 25, and every number recomputed from the predictions.
    Returns the answer."""
    text = page.read_text()
    screen = text[text.index('<section id="answer">') : text.index("</section>")]
    before = screen[: screen.index("<figure")]
    assert len(words(plain(before))) <= 90
    (answer,) = map(plain, re.findall(r'<p class="lead[^>]*>(.*?)</p>', screen, re.DOTALL))
    alarms = [plain(one) for one in re.findall(r'<p class="alarm">(.*?)</p>', screen, re.DOTALL)]
    points = re.findall(r'<li>(.*?) <a href="#([\w-]+)">See ', screen[screen.index('<ul class="points">') :])
    assert 1 <= len(points) <= 5
    assert all(f'<section id="{anchor}">' in text for _, anchor in points)
    for said in (answer, *alarms, *(plain(point) for point, _ in points)):
        assert all(len(words(sentence)) <= 25 for sentence in re.split(r"(?<=[.!?]) (?=[A-Z])", said)), said

    record = json.loads((folder / "run.json").read_text())
    recommendation = json.loads((folder / "final/recommendation.json").read_text())
    encoder = recommendation["encoder"] or record["config"]["model"]["search_encoder"]
    search = record["config"]["model"]["search_encoder"]
    names = record["training_runs"]["final"]
    kinds = [[name for name in names if name.startswith(f"{kind}-s")] for kind in (encoder, search, "baseline")]
    tuned, searched, baseline = (
        [pd.read_parquet(folder / f"final/{name}/predictions.parquet") for name in kind] for kind in kinds
    )

    def gain(pair: list[pd.DataFrame]) -> float:
        return mean_accuracy(pair[: len(tuned)]) - mean_accuracy(pair[len(tuned) :])

    expected = {
        f"tuned with {encoder}": (tuned, mean_accuracy),
        f"over the baseline with {search}": ([*tuned, *baseline], gain),
        f"baseline with {search}": (baseline, mean_accuracy),
        f"gain by tuning with {search}": ([*searched, *baseline], gain),
    }
    del expected[f"over the baseline with {search}" if encoder == search else f"baseline with {search}"]
    tiles = re.findall(
        r'<span class="name">(.*?)</span>\s*<strong>(.*?)</strong><span class="interval">95 % CI (.*?) to (.*?)</span>',
        screen,
    )
    assert [name for name, *_ in tiles] == list(expected)
    for (_, *shown), (own, value) in zip(tiles, expected.values(), strict=True):
        found, *ci = (float(number.replace("−", "-")) for number in shown)
        low, high = resampled(own, value, len(tuned))
        assert found == pytest.approx(value(own), abs=6e-4)
        assert ci == pytest.approx([low, high], abs=0.2 * (high - low) + 0.002)
    if said := re.search(
        rf"is (\d\.\d{{3}}) (above|below) the baseline with {search} \(95 % CI (\S+) to ([^)]+)\)", answer
    ):
        assert f"with {encoder}" in answer.lower()
        assert (
            tiles[2 if encoder == search else 1][1] == ("+" if said[2] == "above" else "−") + said[1]
            or float(said[1]) == 0
        )
        crosses = {float(end.replace("−", "-")) <= 0 for end in said.groups()[2:]} == {True, False}
        assert ("statistically significant at 5 %" in answer or "between these models" in answer) == (not crosses)
    for said in alarms:
        recall, taken, samples, precision = re.search(
            r"recall (\S+); (\d+) of its (\d+) test samples are named .* \(precision (\S+)\)", said
        ).groups()
        scored = tuned[0][tuned[0]["target"] >= 0]
        table = pd.crosstab(scored["target"], scored[score_columns(scored)].to_numpy().argmax(axis=1))
        table = table.reindex(columns=range(len(score_columns(scored))), fill_value=0)
        rows = [k for k in table.index if table.loc[k].sum() == int(samples) and table.loc[k].max() == int(taken)]
        assert any(
            table.loc[k, k] / int(samples) == pytest.approx(float(recall), abs=6e-4)
            and float(precision) == pytest.approx(_precision(table, table.loc[k].idxmax()), abs=6e-4)
            for k in rows
        )
    return answer


def _precision(table: pd.DataFrame, k: int) -> float:
    return table[k].get(k, 0) / table[k].sum()

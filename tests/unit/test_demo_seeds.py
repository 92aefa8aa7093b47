"""The count of demo studies that say "learned": what is known is not trained again, and each way is counted apart."""

import sys

from running import REPOSITORY, merged

sys.path.insert(0, str(REPOSITORY / "tests/statistics"))

import check_statistics
import demo_seeds

from retclip.core.config import check_config
from retclip.search.jobs import jobs_of


def test_studies_that_are_known_are_counted_and_not_run_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    known = [demo_seeds.Study(seed, reports, reports == "as they are" or seed == 2, reports == "as they are", 0.04, 0.2)
             for seed in (1, 2, 3) for reports in demo_seeds.WAYS]  # fmt: skip
    run = []

    def run_study(folder, seed, reports, is_shuffled):
        run.append((seed, reports, is_shuffled))
        return known[2 * (seed - 1) + is_shuffled]

    monkeypatch.setattr(demo_seeds, "run_study", run_study)
    assert demo_seeds.studies(2) == known[:4]
    assert demo_seeds.studies(3) == known
    assert run == [(seed, *way) for seed in (1, 2, 3) for way in demo_seeds.WAYS.items()]
    check_statistics.check_demo(3)
    assert len(run) == 6
    lines = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines() if "reports" in line]
    assert lines == ["3, 3, 3 of 3 (goal", "1, 0, 0 of 3 (goal"]


def test_shuffled_reports_are_those_of_the_control():
    jobs = jobs_of(check_config(merged("demo")))
    (control,) = jobs.of_kind("control")
    assert jobs.specification("final", control)["shuffled_texts"] is True
    trials = [name for name, values in jobs.phase1.items() if demo_seeds.KEPT.items() <= values.items()]
    assert len(trials) == 4, "one of each learning rate"


def test_long_parts_run_where_they_are_named():
    assert set(check_statistics.PARTS) - set(check_statistics.chosen([])) == {"demo"}
    assert check_statistics.chosen(["demo"]) == ["demo"]

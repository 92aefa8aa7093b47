"""What the run is made of, and how to make it again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retclip.core.config import Config
from retclip.core.licenses import packages_by_license
from retclip.core.recorded import with_nulls
from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table
from retclip.report.privacy import shown_config
from retclip.report.run_folder import FinishedTrial, RunFolder
from retclip.report.section import Section

# What every overlay is laid over.
BASE_CONFIG = Path(__file__).resolve().parents[4] / "config/config.yaml"
TEXT = """
<p>{{ test_set_evaluations }}</p>
{{ table("provenance") }}
<details><summary>licenses of encoders and packages</summary>{{ table("licenses") }}</details>
<p>To reproduce it, in a clone of the code at that commit, with this config in <code>my.yaml</code> (it is laid over
config/config.yaml, of which null deletes what this run had not
{%- if run.config.privacy.private %}; the run is private, so its paths are yours to fill in{% endif %}):</p>
<details><summary>my.yaml</summary><pre id="config">{{ overlay }}</pre></details>
<pre>make env
snakemake --cores all --configfile my.yaml                    # the whole run
snakemake --cores all --configfile my.yaml --forcerun build_report   # this page alone</pre>
"""


def provenance_table(run: RunFolder) -> Table:
    """What the run is made of: seeds, hashes, versions, devices."""
    trials = [finished for stage in run.trials().values() for finished in stage]
    rows = [["seed", str(run.config["seed"])]]
    if run.fingerprint is not None:
        rows.append(["data, sha256", run.fingerprint["sha256"]])
    if trials:
        codes = sorted({finished.metrics.code for finished in trials})
        seeds = sorted({finished.trial.seed for finished in trials})
        devices = sorted({f"{finished.metrics.device}, {finished.metrics.precision}" for finished in trials})
        rows += [
            ["code of the trials", ", ".join(codes)],
            ["seeds of the trials", ", ".join(map(str, seeds))],
            ["commit of the trials", ", ".join(commits(trials))],
            ["devices", "; ".join(devices)],
            ["machines", "; ".join(machines(trials))],
            *([name, version] for name, version in trials[0].metrics.versions.items()),
        ]
    if "best" in run.decisions and run.is_decided:
        rows.append(["tuned trial, sha256", run.tuned(run.search_encoder)[0].metrics.trial_sha256])
    return Table(["what", "value"], rows)


def license_table(run: RunFolder) -> Table:
    """Of each encoder, then of the packages that are installed, by license."""
    encoders = (run.audit or {}).get("licenses", {})  # an audit of an earlier version has none
    packages = [[", ".join(names), license] for license, names in packages_by_license().items()]
    return Table(["what", "license"], [*([what, license] for what, license in encoders.items()), *packages])


def commits(trials: Sequence[FinishedTrial]) -> list[str]:
    """The commits of the code that trained, each once."""
    return sorted({finished.metrics.commit or "not known: no git repository" for finished in trials})


def machines(trials: Sequence[FinishedTrial]) -> list[str]:
    """The machines that trained, each once."""
    return sorted({", ".join(f"{key} {value}" for key, value in (t.metrics.machine or {}).items()) for t in trials})


def overlay_text(config: Config) -> str:
    """The YAML that gives `config` again when it is laid over config.yaml; paths as the record has them."""
    import yaml

    base = yaml.safe_load(BASE_CONFIG.read_text(encoding="utf-8"))
    return yaml.safe_dump(with_nulls(config, base), sort_keys=False, allow_unicode=True, width=100)


def _tables(run: RunFolder) -> dict[str, Captioned]:
    return {
        "provenance": Captioned("What the run is made of", provenance_table(run)),
        "licenses": Captioned(
            "Licenses of the encoders, and of the packages where the page was made", license_table(run)
        ),
    }


def _words(run: RunFolder) -> dict[str, Any]:
    return {
        "test_set_evaluations": wording.test_set_evaluations(run.evaluated_on_test),
        "overlay": overlay_text(shown_config(run.config)),
    }


SECTION = Section("Provenance", TEXT, tables=_tables, words=_words)

"""The page says under which licenses the run's packages and encoders are."""

from small_runs import final, run_of

from retclip.core.licenses import UNKNOWN
from retclip.report.sections.provenance import SECTION


def test_the_page_names_the_license_of_every_encoder_and_package():
    run = run_of(final("final", 0.8))
    run.audit = {"licenses": {"text encoder pubmedbert": "mit", "initial weights of the image encoder": UNKNOWN}}
    rows = SECTION.tables(run)["licenses"].content.rows
    assert rows[0][:2] == ["text encoder pubmedbert", "mit"]
    assert rows[1][:2] == ["initial weights of the image encoder", UNKNOWN]
    packages = {name for row in rows[2:] for name in row[0].split(", ")}
    assert {"torch", "snakemake", "open-clip-torch"} <= packages
    assert '{{ table("licenses") }}' in SECTION.text


def test_the_page_of_an_older_run_names_those_of_packages():
    run = run_of(final("final", 0.8))
    run.audit = {}
    assert not any("encoder" in row[0] for row in SECTION.tables(run)["licenses"].content.rows)

"""A private run that was given away, searched by other code than that which made it."""

import html
import os
import re

import pandas as pd
import pytest
from running import entry

pytestmark = pytest.mark.slow


def test_a_shared_run_holds_no_id_text_or_path(small_run, tmp_path):
    run = small_run / "results/small"
    told = entry("share_run", "--run-folder", run, "--output-folder", tmp_path / "given").stdout
    assert re.search(r"\d\d files, with none of \d{3} ids", told), told
    samples = pd.read_parquet(run / "data/samples.parquet")
    wanted = {
        str(cell) for name in samples.filter(regex="^(text|source_|patient_id|sample_id)") for cell in samples[name]
    }
    wanted |= {os.path.splitext(name)[0] for name in wanted if name.endswith(".jpg")}
    prompts = (run / "final").glob("*/model/class_prompts.json")
    public = "".join(path.read_text() for path in prompts)
    needles = [re.escape(one) for one in wanted if len(one) > 2 and one not in public]
    search = re.compile("|".join(sorted(needles, key=len, reverse=True)))
    files = [path for path in (tmp_path / "given").rglob("*") if path.is_file()]
    assert {"index.html", "methods.md", "vision.safetensors", "trials.csv"} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes().decode("utf-8", "replace")
        assert not search.search(html.unescape(content)), path
        assert str(small_run) not in content, path

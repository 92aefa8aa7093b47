"""Audits the data before anything trains: counts, leaks, copies, sides, shortcuts, and what tokenizers make of texts.

Writes audit.json and prints what is dangerous, in plain words, the worst first and at most ten lines.
"""

import argparse
from pathlib import Path

from retclip.core.io import read_json, write_json
from retclip.core.logs import log, run_entry
from retclip.core.schemas import check
from retclip.data.audit import audit
from retclip.data.audit_warnings import terminal_lines
from retclip.data.splits import refuse_fractions
from retclip.metrics.refusals import note_on_order, refuse_unscorable


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="samples, images and fingerprint")
    parser.add_argument("--encoder", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--image-weights", type=Path, help="initial weights of the image encoder, for their license")
    parser.add_argument("--context-length", type=int, required=True, help="tokens that the model reads")
    parser.add_argument("--selection-metric", required=True, help="selection.metric of the config")
    parser.add_argument("--data-fractions", type=float, nargs="*", default=[], help="study.data_fractions, below 1")
    parser.add_argument("--ordered-classes", nargs="*", default=[], help="evaluation.ordered_classes of the config")
    parser.add_argument("--output", type=Path, required=True, help="audit.json")
    options = parser.parse_args(arguments)

    import pandas as pd

    samples = pd.read_parquet(options.data_dir / "samples.parquet")
    fingerprint = read_json(options.data_dir / "fingerprint.json")
    # what nothing can be learned from is said before anything trains, not where it is met
    refuse_unscorable(options.selection_metric, fingerprint)
    refuse_fractions(samples.loc[samples["split"] == "train", "patient_id"], options.data_fractions)
    order = note_on_order(options.ordered_classes, fingerprint["classes"])
    encoders = {name: Path(folder) for name, folder in (entry.split("=", 1) for entry in options.encoder)}
    document = audit(
        samples,
        pd.read_parquet(options.data_dir / "pictures.parquet"),
        fingerprint,
        encoders,
        options.context_length,
        options.selection_metric,
        options.image_weights,
        [order] if order else [],
    )
    check(document, "audit", "audit.json")
    write_json(options.output, document, private=True)  # which lists ids of samples
    for line in terminal_lines(document["warnings"], str(options.output)):
        log(line)


if __name__ == "__main__":
    run_entry(main)

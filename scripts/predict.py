"""Scores new photographs with an exported final model; writes one CSV row per eye and one per patient.

The left and the right eye have a head each. Which eye an image shows is read from the table's columns, else from its
DICOM header, else from its name (12_left.jpg, P1-R.png, 7_OD.jpg): two files whose names differ in that alone are one
patient, and so are both eyes of a DICOM study that has one photograph of each.
Where none tells, the row has eye: unknown, and the patient's head sees the image as both eyes.

Images are turned upright, cropped, resized and read as in training, so that an image of the test split gets the
score that predictions.parquet has, where `head` is the `eye` there. A score is the cosine similarity to a class's
prompts; a probability is shared among the named classes alone: one of them is always likeliest, whatever the image
shows. Not a medical device.

    predict.py --model-dir results/demo/final/pubmedbert-s2001/model --output found.csv left.jpg photographs/
    predict.py --model-dir MODEL --table patients.csv --image-root photographs --output found.csv
"""

import argparse
import os
from pathlib import Path

from retclip.core.gpu_lease import lease
from retclip.core.io import write_csv
from retclip.core.logs import log, run_entry

HEADER = b"name,eye,head,class,"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, nargs="*", help="files, and folders of files")
    parser.add_argument("--model-dir", type=Path, required=True, help="results/{run}/final/{trial}/model")
    parser.add_argument("--table", type=Path, help="CSV: image_left, image_right (or left, right), or image, eye")
    parser.add_argument("--image-root", type=Path, help="of the table's paths (default: the table's folder)")
    parser.add_argument("--classes", type=Path, help="names, one a line, or YAML as config/prompts.yaml")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="(default: as trained)")
    parser.add_argument("--batch-size", type=int, default=64, help="patients at a time (default: 64)")
    parser.add_argument("--threads", type=int, default=2, help="that read images (default: 2)")
    parser.add_argument("--output", type=Path, required=True, help="CSV")
    options = parser.parse_args(arguments)
    if bool(options.images) == (options.table is not None):
        raise ValueError("name images, or a --table of them, and not both.")
    for name in ("batch_size", "threads"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(options, name)}: give 1 or more.")
    if not (options.model_dir / "model.json").is_file():
        raise ValueError(f"{options.model_dir}: has no model.json, so it is no exported model.")
    if options.output.exists() and not _is_ours(options.output):
        raise ValueError(f"{options.output}: is there already, and predict.py has not written it; name another file.")
    lease(options.device)
    os.environ["HF_HUB_OFFLINE"] = "1"  # a model's folder is all of it: nothing in it may send for more

    from retclip.data.cases import cases_of_paths, cases_of_table
    from retclip.evaluation.predict import Predictor
    from retclip.loading.device import choose_device

    if options.table:
        cases = cases_of_table(options.table, options.image_root or options.table.parent)
    else:
        cases = cases_of_paths(options.images)
    predictor = Predictor(options.model_dir, choose_device(options.device), options.precision, options.classes)
    found = predictor.predict(cases, options.batch_size, options.threads)
    write_csv(options.output, found, private=True)
    unread = int(found["problem"].ne("").sum())
    images = sum(max(1, len(case.images)) for case in cases)
    log(f"{images - unread} of {images} images scored: {options.output}")


def _is_ours(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(HEADER)) == HEADER


if __name__ == "__main__":
    run_entry(main)

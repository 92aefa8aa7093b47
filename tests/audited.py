"""A built data set with faults of many kinds, for tests of the audit."""

from pathlib import Path

import numpy as np
from PIL import Image
from running import build_flags, entry


def audited_table(folder: Path) -> Path:
    """Builds 40 patients, half of whom have an unfilled text and a placeholder of an age, and an encoder's folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    (folder / "images").mkdir()
    rows = ["patient_id,image_left,label_left,text,age,mystery"]
    for index in range(40):
        noise = np.random.default_rng(index).integers(0, 255, (40, 40, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"images/{index}.png")
        label = ("a", "b", "b", "b")[index % 4]
        rows.append(
            f"P{index},{index}.png,{label},Fundus [side] number {index} of many words,{1 if index % 4 else 60},x"
        )
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    flags = build_flags(folder / "table.csv", folder / "images", folder / "data", folder / "work", image_size=32)
    entry("build_lmdb", *flags)
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "of"])}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    (folder / "encoder").mkdir()
    tokenizer.save(str(folder / "encoder/tokenizer.json"))
    return folder

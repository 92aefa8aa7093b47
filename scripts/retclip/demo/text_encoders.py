"""The demo's three text encoders: tiny BERTs with tokenizers and pre-training texts of their own.

They stand in for PubMedBERT (reads reports, uncased), BERT-base (reads everyday English, so that medical
words fall to pieces) and BioBERT (cased, reads some of both), and are loaded by the same code.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from retclip.core.io import file_sha256, whole_folder, write_json
from retclip.demo.reports import corpus

HIDDEN, LAYERS, HEADS, INTERMEDIATE, POSITIONS = 64, 2, 1, 128, 128
VOCABULARY = 800
SENTENCES = 600
STEPS, BATCH, RATE, MASKED = 120, 32, 2e-3, 0.15
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# An everyday vocabulary in a template grammar: no word of ophthalmology in it.
SUBJECTS = "The teacher|A farmer|My neighbour|The old captain|Her brother|A young painter|The baker|Our guide"
VERBS = "walked to|looked at|wrote about|waited near|talked about|ran past|dreamed of|found"
OBJECTS = "the river|a small house|the market|an open window|the long road|a quiet garden|the north hill|a red boat"
ENDINGS = "in the morning|before the rain|with a smile|after dinner|for two hours|on the left|on the right|again"


def _everyday(count: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    parts = [part.split("|") for part in (SUBJECTS, VERBS, OBJECTS, ENDINGS)]
    return [" ".join(generator.choice(part) for part in parts) + "." for _ in range(count)]


def _mixed(count: int, seed: int) -> list[str]:
    return [*corpus(count // 2, seed), *_everyday(count - count // 2, seed)]


# name: (what it reads, whether it tells capitals from small letters)
ENCODERS: dict[str, tuple[Callable[[int, int], list[str]], bool]] = {
    "pubmedbert": (corpus, False),
    "bert_base": (_everyday, False),
    "biobert": (_mixed, True),
}


def make_encoder(name: str, seed: int, folder: Path) -> None:
    """Writes a Hugging Face BERT folder: tokenizer trained and weights pre-trained on the encoder's texts.

    A few seconds of masked-language modelling, deterministic for a seed on one thread. Raises ValueError for
    a name the demo does not have, or where `folder` holds what is not ours.
    """
    if name not in ENCODERS:
        raise ValueError(f"the demo has no text encoder {name!r}; it has {', '.join(ENCODERS)}.")
    texts, cased = ENCODERS[name]
    sentences = texts(SENTENCES, seed)
    tokenizer = _train_tokenizer(sentences, cased)
    tokenizer.enable_padding()
    tokenizer.enable_truncation(POSITIONS)
    ids = torch.tensor([encoded.ids for encoded in tokenizer.encode_batch(sentences)])
    tokenizer.no_padding()
    tokenizer.no_truncation()
    model = _pretrain(ids, tokenizer.get_vocab_size(), seed)
    with whole_folder(folder) as made:
        tokenizer.save(str(made / "tokenizer.json"))
        write_json(
            made / "tokenizer_config.json",
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "model_max_length": POSITIONS,
                **{f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")},
            },
        )
        model.bert.save_pretrained(made)
        write_json(
            made / "source.json",
            {
                "name": name,
                "source": "demo",
                "revision": None,
                "license": "MIT",
                "sha256": file_sha256(made / "model.safetensors"),
            },
        )


def _train_tokenizer(sentences: list[str], cased: bool) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    def with_model(model: Any) -> Any:
        tokenizer = Tokenizer(model)
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not cased)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return tokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    capitals = [letter.upper() for letter in letters] if cased else []
    # with every letter at hand, a word never seen falls to pieces, not to [UNK]
    alphabet = [*letters, *capitals, *"0123456789.,;:-/()"]
    # Letters within a word would be numbered as they are met, which is by chance; pairs that are equally frequent are
    # merged in the order of those numbers, so that each training run would end with another vocabulary.
    inner = [f"##{letter}" for letter in alphabet]
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[*SPECIAL, *inner],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    pieces = [*sentences, *(f"{a}{b}" for a in letters for b in letters)]
    training = with_model(models.WordPiece(unk_token="[UNK]"))
    training.train_from_iterator(pieces, trainer)
    # the letters were special for the training alone
    tokenizer = with_model(models.WordPiece(training.get_vocab(), unk_token="[UNK]"))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", SPECIAL.index("[CLS]")), ("[SEP]", SPECIAL.index("[SEP]"))],
    )
    return tokenizer


def _pretrain(ids: torch.Tensor, vocabulary: int, seed: int) -> Any:
    """Masked-language modelling of `ids` [N, L], 0 = [PAD]."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INTERMEDIATE,
        max_position_embeddings=POSITIONS,
        # a few hundred steps cannot overfit, and random numbers are a fifth of such a step on a CPU
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertForMaskedLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    for _ in range(STEPS):
        rows = ids[torch.randint(len(ids), (BATCH,))]
        chosen = (torch.rand(rows.shape) < MASKED) & (rows >= len(SPECIAL))
        masked = rows.masked_fill(chosen, SPECIAL.index("[MASK]"))
        targets = rows.masked_fill(~chosen, -100)
        loss = model(input_ids=masked, attention_mask=(rows > 0).long(), labels=targets).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model

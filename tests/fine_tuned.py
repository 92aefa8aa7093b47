"""Small models on pretrained weights, for tests of what is trained of them: a ViT, a CNN or a CLIP beside a BERT."""

import torch
from documents import ENCODER, VALUES, trial_of

from retclip.core.preprocessing import with_weights_settings
from retclip.models.factory import build_model
from retclip.models.image_weights import fetch_image_weights
from retclip.models.pretrained import fetch_text_encoder

SIZE = 160
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d", "e", "f", "g"]
# test_vit of timm has 6 blocks, test_resnet 4 stages, the sizes 3 blocks; all BERTs here have 3
SIZES = {"layers": 3, "width": 64, "head_width": 32, "patch_size": 32, "embed_dim": 24}
NETWORKS = {
    "vit": {"architecture": "timm/test_vit", "embed_dim": 24},
    "cnn": {"architecture": "timm/test_resnet", "embed_dim": 24},
    "clip": SIZES,
}
BLOCKS = {"vit": 6, "cnn": 4, "clip": 3}


def write_bert(folder, layers=3, dropout=0.0):
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 48}
    dropouts = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    BertModel(BertConfig(vocab_size=len(WORDS), **sizes, **dropouts)).save_pretrained(folder)


def write_image_weights(settings, path):
    from retclip.models.image_encoder import build_image_encoder

    encoder, _ = build_image_encoder(settings, SIZE)
    torch.save(getattr(encoder, "trunk", encoder).state_dict(), path)


def pretrained(folder, network="vit", image_layers=None, text_layers=None, dropout=0.0, **values):
    """A model in training mode on weights of that network and of a BERT; values: hyperparameters."""
    torch.manual_seed(0)
    settings = {**NETWORKS[network], "weights": str(folder / "weights.pt")}
    if not (folder / "weights.safetensors").is_file():
        write_image_weights(NETWORKS[network], folder / "weights.pt")
        fetch_image_weights(settings, SIZE, folder / "weights.safetensors")
        write_bert(folder / "bert", dropout=dropout)
        fetch_text_encoder("tiny", str(folder / "bert"), "main", folder / "fetched")
    return build_model(trial(folder, settings, image_layers, text_layers, **values), folder / "fetched",
                       folder / "weights.safetensors").train()  # fmt: skip


def trial(folder, settings, image_layers=None, text_layers=None, **values):
    image = {} if image_layers is None else {"train_last_layers": image_layers}
    text = {} if text_layers is None else {"train_last_layers": text_layers}
    return trial_of(image_encoder={**with_weights_settings(settings, folder / "weights.safetensors"), **image},
                    image_size=SIZE, text_encoder_settings={**ENCODER, **text},
                    hyperparameters={**VALUES, **values})  # fmt: skip


def batch_of(count=4):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2 * count, SIZE, SIZE, 3), generator=generator, dtype=torch.uint8)
    ids = torch.randint(5, 12, (count, 6), generator=generator)
    rows = {view: torch.arange(count) for view in ("patient", "left", "right")}
    return {"images": images, "eyes": torch.arange(2 * count).view(2, count),
            "texts": [(ids, torch.ones_like(ids))], "text_rows": rows}  # fmt: skip


SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48,
         "vocab_size": 40}  # fmt: skip
TEXT_FAMILIES = ("bert", "electra", "distilbert", "mpnet", "roberta", "xlm-roberta", "camembert", "deberta-v2",
                 "deberta", "modernbert")  # fmt: skip


def text_model(kind):
    from transformers import AutoConfig, AutoModel

    more = {"distilbert": {"dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 48},
            "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}}.get(kind, {})  # fmt: skip
    return AutoModel.from_config(AutoConfig.for_model(kind, **{**SMALL, **more, "pad_token_id": 0}))

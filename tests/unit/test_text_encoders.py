"""Text encoders of every family that people bring: the features that transformers itself gives, for each text alone."""

import json
import shutil
from functools import partial

import pytest
import torch
from documents import ENCODER, trial_of
from exports import DATA, VAL
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from retclip.core.io import read_json
from retclip.models.convert import to_retclip
from retclip.models.factory import build_model
from retclip.models.pretrained import fetch_text_encoder
from retclip.models.text_encoder import load_text_encoder, load_tokenizer, pooling_of, refuse_longer

TEXTS = ["optic disc", "a normal fundus with a few hard drusen and a pale optic disc", "drusen"]
BERT_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROBERTA_TOKENS = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
# model_type -> its special tokens, the kind of its vocabulary, and what its config has besides
FAMILIES = {
    "bert": (BERT_TOKENS, "words", SIZES),
    "electra": (BERT_TOKENS, "words", {**SIZES, "embedding_size": 16}),
    "distilbert": (BERT_TOKENS, "words", {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48}),
    "mpnet": (ROBERTA_TOKENS, "words", SIZES),
    "roberta": (ROBERTA_TOKENS, "bytes", SIZES),
    "xlm-roberta": (ROBERTA_TOKENS, "pieces", SIZES),
    "camembert": (ROBERTA_TOKENS, "pieces", SIZES),
    "deberta-v2": (BERT_TOKENS, "pieces", {**SIZES, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "deberta": (BERT_TOKENS, "bytes", SIZES),
    "modernbert": (BERT_TOKENS, "bytes", {**SIZES, "local_attention": 4, "global_attn_every_n_layers": 3,
                                          "classifier_pooling": "mean"}),
    "albert": (BERT_TOKENS, "pieces", {**SIZES, "embedding_size": 16}),
}  # fmt: skip


def tokenizer_of(kind, special):
    """A small vocabulary of that kind, trained on the texts."""
    tokens = list(special.values())
    if kind == "words":
        tokenizer = Tokenizer(models.WordPiece(unk_token=special["unk"]))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=tokens, show_progress=False)
    elif kind == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=tokens, show_progress=False,
                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=tokens, unk_token=special["unk"],
                                          show_progress=False)  # fmt: skip
    tokenizer.train_from_iterator(TEXTS * 20, trainer)
    marks = [(special[name], tokenizer.token_to_id(special[name])) for name in ("cls", "sep")]
    single = f"{special['cls']} $A {special['sep']}"
    tokenizer.post_processor = processors.TemplateProcessing(single, special_tokens=marks)
    return tokenizer


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """A folder as the hub has them, of a tiny network with random weights."""
    from transformers import AutoConfig, AutoModel

    special, kind, sizes = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = tokenizer_of(kind, special)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {f"{name}_token": token for name, token in special.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    ids = {f"{name}_token_id": tokenizer.token_to_id(special[name]) for name in ("pad", "cls", "sep")}
    ids |= {"bos_token_id": ids["cls_token_id"], "eos_token_id": ids["sep_token_id"]}
    config = AutoConfig.for_model(request.param, vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=130,
                                  **ids, **sizes)  # fmt: skip
    torch.manual_seed(0)
    AutoModel.from_config(config).eval().save_pretrained(folder)
    return request.param, folder


def build(folder, tmp_path, **settings):
    fetch_text_encoder("mine", str(folder), "main", tmp_path / "fetched", settings.get("pooling"))
    trial = trial_of(text_encoder="mine", text_encoder_settings={**ENCODER, **settings}, image_size=160,
                     image_encoder={"architecture": "timm/test_vit", "embed_dim": 16})  # fmt: skip
    return build_model(trial, tmp_path / "fetched", None).eval()


@torch.inference_mode()
def by_transformers(folder, text, pooling):
    """The feature of one text, without padding, as transformers' own classes have it."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    ids = torch.tensor([Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids])
    output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
    if pooling == "pooler":
        return output.pooler_output[0]
    tokens = output.last_hidden_state[0]
    return tokens[0] if pooling == "cls" else tokens.mean(0)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("masked", [True, False])
def test_features_are_those_of_transformers(family, tmp_path, pooling, masked):
    _, folder = family
    model = build(folder, tmp_path, pooling=pooling)
    ids, mask = load_tokenizer(tmp_path / "fetched")(TEXTS, 100)
    assert not mask.bool().all(), "the texts have several lengths"
    with torch.inference_mode():
        found = model.pooled_text(ids, mask if masked else None)
    for feature, text in zip(found, TEXTS, strict=True):
        assert torch.allclose(feature, by_transformers(folder, text, pooling), atol=1e-5)


def test_special_tokens_stay_when_a_text_is_cut(family, tmp_path):
    name, folder = family
    fetch_text_encoder("mine", str(folder), "main", tmp_path / "fetched")
    special, _, _ = FAMILIES[name]
    ids, _ = load_tokenizer(tmp_path / "fetched")([TEXTS[1]], 6)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert ids.shape == (1, 6)
    assert tokenizer.id_to_token(int(ids[0, 0])) == special["cls"]
    assert tokenizer.id_to_token(int(ids[0, -1])) == special["sep"]


def test_an_exported_model_gives_the_same_features(family, tmp_path):
    from retclip.models.export import export_model, load_exported

    name, folder = family
    model = build(folder, tmp_path)
    trial = trial_of(text_encoder="mine")
    settings = {"architecture": "timm/test_vit", "embed_dim": 16}
    export_model(model, tmp_path / "model", image_encoder=settings, tokenizer_folder=tmp_path / "fetched",
                 image_size=160, class_prompts={"a": ["a"]}, trial=trial, data=DATA, val=VAL)  # fmt: skip
    again = load_exported(tmp_path / "model")
    assert again.pooling == model.pooling == ("mean" if name == "modernbert" else "cls")
    ids, mask = load_tokenizer(tmp_path / "model/text")(TEXTS, 100)
    with torch.inference_mode():
        assert torch.allclose(again.encode_text(ids, mask, "left"), model.encode_text(ids, mask, "left"), atol=1e-6)
    assert (tmp_path / "model/retclip.pt").is_file() is False


def test_pooling_is_the_models_own_unless_set(tmp_path):
    """sentence-transformers' file says mean; the config may say otherwise."""
    source = tmp_path / "minilm"
    make("bert", source)
    (source / "1_Pooling").mkdir()
    told = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (source / "1_Pooling/config.json").write_text(json.dumps(told))
    assert fetch_text_encoder("mine", str(source), "main", tmp_path / "fetched")["pooling"] == "mean"
    assert read_json(tmp_path / "fetched/source.json")["pooling"] == "mean"
    assert pooling_of(tmp_path / "fetched") == "mean"
    assert pooling_of(tmp_path / "fetched", "cls") == "cls"


def make(name, folder, **changes):
    """The folder of one family, tiny."""
    from transformers import AutoConfig, AutoModel

    folder.mkdir(exist_ok=True)
    special, kind, sizes = FAMILIES[name]
    tokenizer = tokenizer_of(kind, special)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = AutoConfig.for_model(name, vocab_size=tokenizer.get_vocab_size(), **{**sizes, **changes})
    AutoModel.from_config(config).save_pretrained(folder)
    return config


def test_a_pooler_is_read_where_it_is_asked_for(tmp_path):
    make("bert", tmp_path / "source")
    model = build(tmp_path / "source", tmp_path, pooling="pooler")
    ids, mask = load_tokenizer(tmp_path / "fetched")(TEXTS[:1], 32)
    with torch.inference_mode():
        found = model.pooled_text(ids, mask)[0]
    assert torch.allclose(found, by_transformers(tmp_path / "source", TEXTS[0], "pooler"), atol=1e-5)
    with pytest.raises(ValueError, match="upstream's layout"):
        to_retclip(model)


def test_a_pooler_that_is_not_there_is_refused(tmp_path):
    """Neither left random, nor taken from a family that has none."""
    from safetensors.torch import load_file, save_file

    make("bert", tmp_path / "bert")
    path = tmp_path / "bert/model.safetensors"
    save_file({name: value for name, value in load_file(path).items() if "pooler" not in name}, path, {"format": "pt"})
    with pytest.raises(ValueError, match="the weights lack 2 tensors"):
        fetch_text_encoder("mine", str(tmp_path / "bert"), "main", tmp_path / "fetched", "pooler")
    make("distilbert", tmp_path / "distilbert")
    with pytest.raises(ValueError, match="a distilbert has no pooler"):
        fetch_text_encoder("mine", str(tmp_path / "distilbert"), "main", tmp_path / "fetched", "pooler")


@pytest.mark.parametrize("kind", ["gpt2", "t5", "no_such_model"])
def test_what_is_no_text_encoder_is_refused_in_a_sentence(tmp_path, kind):
    from transformers import AutoConfig, AutoModel

    source = tmp_path / "source"
    make("bert", source)
    if kind == "no_such_model":
        (source / "config.json").write_text(json.dumps({"model_type": kind}))
    else:
        sizes = {"gpt2": {"n_embd": 8, "n_layer": 1, "n_head": 1}, "t5": {"d_model": 8, "d_kv": 4, "d_ff": 8,
                                                                          "num_layers": 1, "num_heads": 1}}  # fmt: skip
        AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=100, **sizes[kind])).save_pretrained(source)
    with pytest.raises(ValueError, match=f"holds a model of type '{kind}'") as refused:
        fetch_text_encoder("mine", str(source), "main", tmp_path / "fetched")
    assert len(str(refused.value)) <= 300
    assert "\n" not in str(refused.value)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    make("bert", tmp_path / "source")
    config = json.loads((tmp_path / "source/config.json").read_text())
    tokenizer_of("bytes", ROBERTA_TOKENS).save(str(tmp_path / "source/tokenizer.json"))
    assert Tokenizer.from_file(str(tmp_path / "source/tokenizer.json")).get_vocab_size() > config["vocab_size"]
    with pytest.raises(ValueError, match="do not belong together"):
        fetch_text_encoder("mine", str(tmp_path / "source"), "main", tmp_path / "fetched")


def test_load_text_encoder_keeps_the_padding_of_its_tokenizer(family, tmp_path):
    name, folder = family
    fetch_text_encoder("mine", str(folder), "main", tmp_path / "fetched")
    special, _, _ = FAMILIES[name]
    wanted = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id(special["pad"])
    assert load_text_encoder(tmp_path / "fetched").config.pad_token_id == wanted


@pytest.mark.parametrize(("kind", "special"), [("words", BERT_TOKENS), ("words", ROBERTA_TOKENS),
                                               ("pieces", ROBERTA_TOKENS)])  # fmt: skip
def test_the_audit_counts_unknown_tokens_of_every_vocabulary(tmp_path, kind, special):
    from retclip.data.audit_texts import token_statistics

    tokenizer_of(kind, special).save(str(tmp_path / "tokenizer.json"))
    assert token_statistics(tmp_path, TEXTS, 32)["unknown"] == 0
    assert token_statistics(tmp_path, ["视网膜 视网膜"], 32)["unknown"] > 0.2


def test_weights_in_several_files_are_one_model(tmp_path):
    """As transformers saves a large model, with an index of which tensor is in which file."""
    from safetensors.torch import load_file, save_file

    make("bert", tmp_path / "whole")
    parts = tmp_path / "parts"
    shutil.copytree(tmp_path / "whole", parts)
    state = load_file(parts / "model.safetensors")
    (parts / "model.safetensors").unlink()
    names = sorted(state)
    files = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(names)}
    for file in sorted(set(files.values())):
        save_file({name: state[name] for name in names if files[name] == file}, parts / file, {"format": "pt"})
    index = parts / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    fetch_text_encoder("mine", str(parts), "main", tmp_path / "fetched")
    found = load_file(tmp_path / "fetched/model.safetensors")
    assert sorted(found) == names
    assert all(torch.equal(found[name], state[name]) for name in names)
    (parts / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"parts: lacks model-00002-of-00002\.safetensors, which its index names\.$"):
        fetch_text_encoder("mine", str(parts), "main", tmp_path / "again")
    index.write_text(json.dumps({"weight_map": {"a": "../whole/model.safetensors"}}))
    with pytest.raises(ValueError, match=r"index\.json: names no files of its folder"):
        fetch_text_encoder("mine", str(parts), "main", tmp_path / "again")


@pytest.mark.parametrize(("kind", "longest"), [("bert", 16), ("roberta", 14), ("modernbert", None)])
def test_a_context_length_that_the_encoder_cannot_read_is_refused(tmp_path, kind, longest):
    """Before anything trains. RoBERTa counts positions behind that of its padding; rotary ones have no end."""
    from transformers import AutoConfig, AutoModel

    make("bert", tmp_path / "source")
    sizes = FAMILIES[kind][2]
    ids = {"pad_token_id": 1, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    config = AutoConfig.for_model(kind, vocab_size=300, max_position_embeddings=16, **{**sizes, **ids})
    AutoModel.from_config(config).save_pretrained(tmp_path / "source")
    fetch = partial(fetch_text_encoder, "mine", str(tmp_path / "source"), "main")
    if longest is None:
        fetch(tmp_path / "fetched", context_length=77)
        return
    fetch(tmp_path / "fetched", context_length=longest)
    sentence = rf"model\.context_length is {longest + 1}, but mine reads at most {longest} tokens; lower it\.$"
    with pytest.raises(ValueError, match=sentence):
        fetch(tmp_path / "again", context_length=longest + 1)
    with pytest.raises(ValueError, match=sentence):  # as a training run asks, of what another run has fetched
        refuse_longer(load_text_encoder(tmp_path / "fetched"), "mine", longest + 1)


def test_a_text_encoder_of_a_diverged_training_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    make("bert", tmp_path / "source")
    path = tmp_path / "source/model.safetensors"
    state = load_file(path)
    state["encoder.layer.1.output.dense.bias"][0] = torch.nan
    save_file(state, path, {"format": "pt"})
    with pytest.raises(ValueError, match=r"source: encoder\.layer\.1\.output\.dense\.bias holds NaN or infinity"):
        fetch_text_encoder("mine", str(tmp_path / "source"), "main", tmp_path / "fetched")

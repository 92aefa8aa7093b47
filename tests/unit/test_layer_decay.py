"""layer_decay: each block learns at this share of the rate of the block above it, as in BEiT, MAE and RETFound."""

import io
import math

import pytest
import torch
from fine_tuned import NETWORKS, batch_of, pretrained
from running import declared_defaults, merged

from retclip.core.config import check_config
from retclip.models.encode import encode_batch
from retclip.models.loss import tripartite_loss
from retclip.training.optimizer import build_optimizer, learning_rate_of, set_learning_rate

VALUES = {**declared_defaults(), "learning_rate": 1e-3, "weight_decay": 0.1, "optimizer": "adamw"}

# By hand, of a rate of 1e-3 and a decay of .5: what begins with the name -> its rate. The longest name counts.
BERT = {
    "bert.embeddings": 1e-3 / 16,
    "bert.encoder.layer.0.": 1e-3 / 8,
    "bert.encoder.layer.1.": 1e-3 / 4,
    "bert.encoder.layer.2.": 1e-3 / 2,
}
REST = {"": 1e-3}
TABLES = {
    "vit": {
        "visual.trunk.cls_token": 1e-3 / 128, "visual.trunk.reg_token": 1e-3 / 128,
        "visual.trunk.pos_embed": 1e-3 / 128, "visual.trunk.patch_embed": 1e-3 / 128,
        "visual.trunk.blocks.0.": 1e-3 / 64, "visual.trunk.blocks.1.": 1e-3 / 32, "visual.trunk.blocks.2.": 1e-3 / 16,
        "visual.trunk.blocks.3.": 1e-3 / 8, "visual.trunk.blocks.4.": 1e-3 / 4, "visual.trunk.blocks.5.": 1e-3 / 2,
        "visual.trunk.norm.": 1e-3, "visual.head.proj": 1e-3,
    },
    "cnn": {
        "visual.trunk.conv1.": 1e-3 / 32, "visual.trunk.bn1.": 1e-3 / 32, "visual.trunk.layer1.": 1e-3 / 16,
        "visual.trunk.layer2.": 1e-3 / 8, "visual.trunk.layer3.": 1e-3 / 4, "visual.trunk.layer4.": 1e-3 / 2,
    },
    "clip": {
        "visual.conv1": 1e-3 / 16, "visual.class_embedding": 1e-3 / 16, "visual.positional_embedding": 1e-3 / 16,
        "visual.ln_pre": 1e-3 / 16, "visual.transformer.resblocks.0.": 1e-3 / 8,
        "visual.transformer.resblocks.1.": 1e-3 / 4, "visual.transformer.resblocks.2.": 1e-3 / 2,
        "visual.ln_post": 1e-3, "visual.proj": 1e-3,
    },
}  # fmt: skip


def rates(model, optimizer):
    """Name -> the rate and the weight decay of the group that it is in, once."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = [(names[one], group) for group in optimizer.param_groups for one in group["params"]]
    assert len({name for name, _ in groups}) == len(groups)
    return {name: (group["lr"], group["weight_decay"]) for name, group in groups}


@pytest.mark.parametrize("network", NETWORKS)
def test_every_parameter_has_the_rate_of_the_table(tmp_path, network):
    model = pretrained(tmp_path, network)
    found = rates(model, build_optimizer(model, {**VALUES, "layer_decay": 0.5}))
    table = {**REST, **BERT, **TABLES[network]}
    assert found.keys() == {name for name, one in model.named_parameters() if one.requires_grad}
    for name, (rate, decay) in found.items():
        prefix = max((each for each in table if name.startswith(each)), key=len)
        assert rate == pytest.approx(table[prefix], rel=1e-12), name
        assert decay == (0.1 if model.get_parameter(name).ndim >= 2 else 0.0), name


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_without_decay_nothing_changes(tmp_path, optimizer):
    """Groups, rates and, bit for bit, steps are those of matrices, vectors and logit scales alone."""
    ended = []
    for plain in (False, True):
        model = pretrained(tmp_path, "vit")
        values = {**VALUES, "learning_rate": 1e-4, "optimizer": optimizer}
        made = build_optimizer(model, {**values, "layer_decay": 1.0})
        assert [len(group["params"]) > 3 for group in made.param_groups] == [True, True, False]
        if plain:  # in its place, the three groups as torch has them
            groups = [{"params": g["params"], "lr": g["lr"], "weight_decay": g["weight_decay"], "factor": g["factor"]}
                      for g in made.param_groups]  # fmt: skip
            options = {"betas": (0.9, 0.98), "eps": 1e-6, "fused": True}
            made = torch.optim.AdamW(groups, lr=1e-4, **options) if optimizer == "adamw" else made
        take_steps(model, made, 3, 1e-4)
        ended.append(model.state_dict())
    assert all(torch.equal(value, ended[1][name]) for name, value in ended[0].items())


def take_steps(model, optimizer, steps, rate, first=0):
    for step in range(first, first + steps):
        torch.manual_seed(step)
        set_learning_rate(optimizer, rate * (step + 1) / 4)
        optimizer.zero_grad()
        tripartite_loss(encode_batch(model, batch_of(), augment=False))["total"].backward()
        optimizer.step()


def test_the_schedule_moves_all_rates_alike_and_the_temperature_keeps_its_own(tmp_path):
    model = pretrained(tmp_path, "vit")
    optimizer = build_optimizer(model, {**VALUES, "learning_rate": 1e-5, "layer_decay": 0.65})
    before = rates(model, optimizer)
    assert before["logit_scale"][0] == pytest.approx(1e-3)
    assert before["visual.trunk.blocks.0.norm1.weight"][0] == pytest.approx(1e-5 * 0.65**6)
    set_learning_rate(optimizer, 0.25e-5)
    assert learning_rate_of(optimizer) == 0.25e-5
    for name, (rate, _) in rates(model, optimizer).items():
        assert rate == pytest.approx(before[name][0] / 4, rel=1e-12)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weight_decay_follows_the_layers_rate(tmp_path, optimizer):
    """It is that of the layer's rate, in SGD as in AdamW: without gradients every matrix shrinks by it alone."""
    model = pretrained(tmp_path, "vit")
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    made = build_optimizer(model, {**VALUES, "optimizer": optimizer, "layer_decay": 0.5})
    for one in model.parameters():
        one.grad = torch.zeros_like(one)
    made.step()
    for name, rate in (("visual.trunk.blocks.5.mlp.fc1.weight", 0.5e-3), ("visual.head.proj.weight", 1e-3),
                       ("bert.embeddings.word_embeddings.weight", 1e-3 / 16)):  # fmt: skip
        torch.testing.assert_close(model.get_parameter(name), before[name] * (1 - rate * 0.1), rtol=1e-7, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_it_resumes_bit_for_bit(tmp_path, optimizer):
    values = {**VALUES, "layer_decay": 0.65, "optimizer": optimizer}
    whole = pretrained(tmp_path, "vit")
    take_steps(whole, build_optimizer(whole, values), 4, 1e-3)
    first, saved = pretrained(tmp_path, "vit"), io.BytesIO()
    made = build_optimizer(first, values)
    take_steps(first, made, 2, 1e-3)
    torch.save({"model": first.trained_state(), "optimizer": made.state_dict()}, saved)
    saved.seek(0)
    content = torch.load(saved, weights_only=True)
    second = pretrained(tmp_path, "vit")
    made = build_optimizer(second, values)
    second.load_trained_state(content["model"])
    made.load_state_dict(content["optimizer"])
    take_steps(second, made, 2, 1e-3, first=2)
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in whole.state_dict().items())


def test_frozen_blocks_have_no_rate_and_the_others_keep_theirs(tmp_path):
    model = pretrained(tmp_path, "vit", image_layers=2, freeze="text")
    found = rates(model, build_optimizer(model, {**VALUES, "layer_decay": 0.5}))
    assert not {name for name in found if name.startswith(("bert.", "visual.trunk.blocks.3", "visual.trunk.pos"))}
    assert found["visual.trunk.blocks.4.mlp.fc1.weight"][0] == pytest.approx(0.25e-3)


@pytest.mark.slow
def test_the_learning_rate_finder_raises_all_rates_alike(tmp_path, monkeypatch):
    import numpy as np

    from retclip.training import lr_finder

    seen, built = [], []

    def remember(model, hyperparameters):
        optimizer = build_optimizer(model, hyperparameters)
        optimizer.register_step_post_hook(lambda each, *_: seen.append([group["lr"] for group in each.param_groups]))
        built.append(optimizer)
        return optimizer

    class Same:
        """The same batch over and over, as Split gives it."""

        def __len__(self):
            return 8

        def batch(self, indices, device):
            return {**batch_of(4), "present": torch.ones(4, 2, dtype=torch.bool)}

    monkeypatch.setattr(lr_finder, "build_optimizer", remember)
    from fine_tuned import trial

    model = pretrained(tmp_path, "clip")
    made = trial(tmp_path, NETWORKS["clip"], learning_rate=1e-6, layer_decay=0.5, batch_size=4)
    curve, _ = lr_finder.range_test(made, model, Same(), torch.device("cpu"), "fp32", 1e-3, 20)
    layers = [group["layer"] for group in built[0].param_groups]
    assert min(layers) == 1 / 16
    for rates_of_step, rate in zip(seen, np.array(curve["learning_rate"]), strict=False):
        for found, group in zip(rates_of_step, built[0].param_groups, strict=True):
            if group["params"][0].ndim:  # the temperature has its own
                assert found == pytest.approx(rate * group["layer"], rel=1e-6)
    assert math.isclose(curve["learning_rate"].iloc[-1], 1e-3, rel_tol=0.3)


def test_both_encoders_frozen_leave_nothing_to_decay():
    config = merged("laptop", "demo")
    config["model"]["freeze"] = "both"
    config["defaults"]["layer_decay"] = 0.65
    config["phase1"]["space"].pop("freeze", None)
    config["phase2"]["space"].pop("freeze", None)
    with pytest.raises(ValueError, match=r"layer_decay.*model.freeze is both") as told:
        check_config(config)
    assert len(str(told.value)) <= 300
    config["defaults"]["layer_decay"] = 1.0
    check_config(config)
    config["phase2"]["space"]["layer_decay"] = [0.65, 0.8]
    with pytest.raises(ValueError, match=r"phase2.space.layer_decay"):
        check_config(config)


@pytest.mark.parametrize("wrong", [0, -0.5, 1.5, "0.65"])
def test_a_decay_outside_its_bounds_is_refused(wrong):
    config = merged("demo")
    config["defaults"]["layer_decay"] = wrong
    with pytest.raises(ValueError, match=r"defaults\.layer_decay"):
        check_config(config)

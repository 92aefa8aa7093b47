"""What of the encoders is trained, checked in the config: a key that could do nothing is refused at once."""

from pathlib import Path
from typing import Any

from retclip.core.hyperparameters import values_in
from retclip.core.io import is_file, read_json

Config = dict[str, Any]
# hyperparameters of encoders -> the value that does nothing
OFF = {"layer_decay": 1.0, "lora_rank": 0}


def check_fine_tuning(config: Config, origin: str) -> None:
    """Raises ValueError with one sentence where train_last_layers, layer_decay or lora_rank has nothing to work on, or
    where an encoder is known to have fewer blocks."""
    model = config["model"]
    image = model["image_encoder"]
    if "train_last_layers" in image:
        key = f"{origin}: model.image_encoder.train_last_layers"
        _refuse_frozen(config, "image", key, image["train_last_layers"])
        if "weights" not in image:
            raise ValueError(f"{key} is {image['train_last_layers']}, but there are no weights: all blocks are new.")
        check_blocks(key, image["train_last_layers"], "the encoder", image.get("layers"))
    for name, encoder in model["text_encoders"].items():
        if "train_last_layers" in encoder:
            key = f"{origin}: model.text_encoders.{name}.train_last_layers"
            _refuse_frozen(config, "text", key, encoder["train_last_layers"])
            check_blocks(key, encoder["train_last_layers"], encoder["source"], _layers(encoder["source"]))
    if set().union(*_frozen(config).values()) == {"both"}:
        for name, off in OFF.items():
            for place, values in values_in(config, name).items():
                if any(value != off for value in values):
                    raise ValueError(
                        f"{origin}: {place} has nothing to work on: model.freeze is both, and heads have no blocks; "
                        "leave one of them out."
                    )
    new = "weights" not in image and bool({"none", "text"} & set().union(*_frozen(config).values()))
    ranks = [place for place, values in values_in(config, "lora_rank").items() if any(values)]
    if new and ranks:
        raise ValueError(
            f"{origin}: {ranks[0]} is set, but model.image_encoder has no weights, and LoRA changes none; "
            "freeze it, or leave the rank at 0."
        )


def check_blocks(key: str, layers: int, name: str, blocks: int | None) -> None:
    """Raises ValueError where an encoder has fewer blocks than its train_last_layers. key: where that stands. blocks:
    None where their number is not known yet."""
    if blocks is not None and layers > blocks:
        raise ValueError(f"{key} is {layers}, but {name} has {blocks} blocks.")


def adapts(config: Config, which: str) -> bool:
    """Whether LoRA may adapt the image or the text encoder in some trial."""
    frozen = set().union(*_frozen(config).values())
    return not frozen <= {which, "both"} and any(any(values) for values in values_in(config, "lora_rank").values())


def _frozen(config: Config) -> dict[str, set[str]]:
    """Where freeze is set -> its values."""
    return {place: set(values) for place, values in values_in(config, "freeze").items()}


def _refuse_frozen(config: Config, which: str, key: str, layers: int) -> None:
    for place, values in _frozen(config).items():
        frozen = sorted(values & {which, "both"})
        if frozen:
            raise ValueError(
                f"{key} is {layers}, but {place} has {frozen[0]}: a frozen {which} encoder trains no layer; "
                "leave one of them out."
            )


def _layers(source: str) -> int | None:
    """Blocks of a text encoder in a folder, by its config; None where that has to be fetched, or does not say."""
    path = Path(source) / "config.json"
    if not is_file(path):
        return None
    try:
        said = read_json(path)
    except ValueError:  # for who fetches it to say
        return None
    found = said.get("num_hidden_layers", said.get("n_layers")) if isinstance(said, dict) else None
    return found if isinstance(found, int) else None

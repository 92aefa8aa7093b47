"""Hubs of strangers, or who answers for one: other commits, names and hashes that are paths, addresses elsewhere."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from security.attacks import Attack, begin
from small_hub import COMMIT, MODEL, WEIGHTS, SmallHub

from retclip.core.hub import fetch_snapshot
from retclip.core.logs import run_entry

OTHER = "f" * 40
FILES = {"config.json": b'{"model_type": "bert"}', "vocab.txt": b"[PAD]\n", WEIGHTS: bytes(range(256)) * 40}


def fetched(change: Callable[[SmallHub, Path], object], revision: str = "main") -> Callable[[Path], None]:
    """What is fetched of a hub that `change` has changed. victim: a file of the user's that must stay as it is."""

    def work(folder: Path) -> None:
        victim = folder / "victim"
        victim.write_text("precious")
        with SmallHub(dict(FILES)).serving() as hub:
            use(hub, folder)
            change(hub, folder)
            begin()
            try:
                run_entry(lambda _: print(fetch_snapshot("key", "model", MODEL, revision, ["*"])))
            finally:
                assert victim.read_text() == "precious"
                assert {path.name for path in folder.iterdir()} <= {"victim", "cache", "said.txt"}

    return work


def use(hub: SmallHub, folder: Path) -> None:
    """Makes it the hub of the client in this process."""
    from huggingface_hub import constants

    constants.ENDPOINT = hub.address
    constants.HUGGINGFACE_CO_URL_TEMPLATE = f"{hub.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    constants.HF_HUB_CACHE = str(folder / "cache")
    constants.HF_HUB_OFFLINE = False
    constants.HF_HUB_DISABLE_PROGRESS_BARS = True


def headers(name: str, **values: str) -> Callable[[SmallHub, Path], None]:
    """Other headers with a file. {folder} is where the user's file lies."""

    def change(hub: SmallHub, folder: Path) -> None:
        given = {key.replace("_", "-"): value.replace("{folder}", str(folder)) for key, value in values.items()}
        hub.headers[name] = given

    return change


def elsewhere(name: str, content: bytes | None = None) -> Callable[[SmallHub, Path], None]:
    """A file's address leads to another server, which has it, or other bytes."""

    def change(hub: SmallHub, folder: Path) -> None:
        other = SmallHub({**FILES, name: FILES[name] if content is None else content})
        other.stays = other.serving()
        hub.leads_to[name] = f"{other.stays.__enter__().address}/there/{name}"

    return change


def answer(**values: object) -> Callable[[SmallHub, Path], None]:
    return lambda hub, folder: [setattr(hub, name, value) for name, value in values.items()]


def tree_with(**values: object) -> Callable[[SmallHub, Path], None]:
    def change(hub: SmallHub, folder: Path) -> None:
        entries = json.loads(hub.files_of_the_tree())
        entries[-1].update(values)
        hub.tree = json.dumps(entries).encode()

    return change


def other_bytes(hub: SmallHub, folder: Path) -> None:
    """The listing has the hash of what the user asked for, the file is another."""
    hub.listing = hub.info()
    hub.files["config.json"] = b'{"model_type": "evil"}'


# Of a large file: where its pieces and the token for them are; the hash of the answer itself names nothing.
AS_THE_HUB = {
    "Link": '<https://huggingface.co/token>; rel="xet-auth", <https://x.invalid/y>; rel="xet-reconstruction-info"',
    "ETag": 'W/"1a-b+/c"',
    "X_Linked_ETag": f'"{hashlib.sha256(FILES[WEIGHTS]).hexdigest()}"',
}
LEADS_AWAY = "error: key: someone/tiny-bert: .*leads to"
COMMITS = "error: key: someone/tiny-bert.*commit"
NAMES = "error: key: someone/tiny-bert.*names"
ATTACKS = {
    "hub that is honest": Attack(fetched(headers(WEIGHTS, **AS_THE_HUB)), "Snapshot", 0),
    "hub that gives another commit than was asked for": Attack(fetched(answer(commit=OTHER), COMMIT), COMMITS),
    "hub that calls its commit ../../..": Attack(fetched(answer(commit="../../..")), COMMITS),
    "hub whose file is of another commit": Attack(fetched(headers("config.json", X_Repo_Commit=OTHER)), COMMITS),
    "hub whose file is of a commit that is a path": Attack(
        fetched(headers("vocab.txt", X_Repo_Commit="{folder}")), COMMITS
    ),
    "hub whose ETag is the path of a user's file": Attack(
        fetched(headers("config.json", ETag='"{folder}/victim"')), NAMES
    ),
    "hub whose ETag leads up": Attack(fetched(headers("config.json", ETag='"../../../../new"')), NAMES),
    "hub whose linked ETag leads up": Attack(fetched(headers(WEIGHTS, X_Linked_ETag='"../../../new"')), NAMES),
    "hub whose tree has a hash that is a path": Attack(
        fetched(tree_with(xetHash="a" * 64, lfs={"oid": "../../../../new", "size": 9, "pointerSize": 130})), NAMES
    ),
    "hub whose tree has a file that the listing has not": Attack(fetched(tree_with(path="../../x")), NAMES),
    "hub that gives other bytes than its listing says": Attack(fetched(other_bytes), "error: .*config.json .*SHA-1"),
    "hub that sends a config elsewhere": Attack(fetched(elsewhere("config.json")), LEADS_AWAY),
    "hub that sends weights elsewhere": Attack(
        fetched(elsewhere(WEIGHTS)), r"large files come from 127(?s:.*)Snapshot", 0
    ),
    "hub that sends weights elsewhere, to other bytes": Attack(
        fetched(elsewhere(WEIGHTS, FILES[WEIGHTS][:-1] + b"x")), "error: .*pytorch_model.bin .*SHA-256"
    ),
    "hub whose further pages are elsewhere": Attack(
        fetched(answer(api_headers={"Link": '<http://127.0.0.1:9/more>; rel="next"'})), LEADS_AWAY
    ),
    "hub that asks for the user's token elsewhere": Attack(
        fetched(headers(WEIGHTS, X_Xet_Hash="a" * 64, Link='<http://127.0.0.1:9/token>; rel="xet-auth"')), LEADS_AWAY
    ),
    "hub with a listing of 80 MB": Attack(fetched(answer(listing=b" " * (80 << 20))), "error: .*more than 64 MB"),
    "hub with a listing nested 10^5 deep": Attack(fetched(answer(listing=b"[" * 100_000)), "error: key: "),
    "hub with a listing that is a list": Attack(fetched(answer(listing=b"[1]")), "error: key: "),
    "hub that lists a number as a file": Attack(fetched(answer(lists=[{"rfilename": 5}])), "error: key: "),
    "hub that lists a name of 5,000 letters": Attack(
        fetched(lambda hub, folder: hub.files.update({"x" * 5000: b""})), "error: key: "
    ),
}  # fmt: skip

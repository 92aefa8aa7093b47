"""Tables, containers, class maps and prompts of strangers: patterns that never end, files that are none, bombs."""

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

from security.attacks import Attack, begin
from security.building import build_table
from small_tables import GOOD, forty_patients


def table_of(change: Callable[[Path], None], **settings: object) -> Callable[[Path], None]:
    """The build of forty good patients whose table or settings are the attack."""

    def work(folder: Path) -> None:
        forty_patients(folder)
        change(folder)
        begin()
        build_table(folder, **settings)

    return work


def unchanged(folder: Path) -> None:
    pass


def of_prompts(pattern: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        rows = [f"{index},{'ab'[index % 2]},Prompt {index}." for index in range(GOOD)]
        (folder / "table.csv").write_text("dataset_index,label,prompt\n" + "\n".join(rows) + "\n")

    return table_of(change, source="prompts", image_pattern=pattern, patient_id="none")


def of_odir(pattern: str | None = None, class_map: str = "a: [a]\nb: [b]\n") -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        forty_patients(folder)
        rows = [f"{index},{'ab'[index % 2]},{'ab'[index % 2]}" for index in range(GOOD)]
        (folder / "table.csv").write_text("patient_id,left_keywords,right_keywords\n" + "\n".join(rows) + "\n")
        (folder / "classes.yaml").write_text(class_map)
        begin()
        given = {"image_pattern": pattern} if pattern else {}
        build_table(folder, source="odir", **given, **{"class-map": folder / "classes.yaml"})

    return work


def named_by_letters(folder: Path) -> None:
    """Forty good names, of letters alone, and the one that a pattern takes for ever on."""
    lines = (folder / "table.csv").read_text().splitlines()
    for index in range(GOOD):
        os.rename(folder / f"images/{index}.png", folder / "images" / ("a" * (index + 1)))
        lines[index + 1] = lines[index + 1].replace(f"{index}.png", "a" * (index + 1))
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    long_names(folder)


def long_names(folder: Path) -> None:
    """Image names over which a pattern that backtracks takes for ever."""
    lines = (folder / "table.csv").read_text().splitlines()
    lines.append(f"X,{'a' * 60}!.png,left,a,Report.")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")


def million_columns(folder: Path) -> None:
    names = ",".join(f"c{index}" for index in range(1_000_000))
    (folder / "table.csv").write_text(f"patient_id,image,label,text,{names}\n")


def endless_line(folder: Path, size: int = 1 << 30) -> None:
    with (folder / "table.csv").open("r+b") as stream:
        stream.seek(0, os.SEEK_END)
        stream.write(b'P9,9.png,left,a,"' + b"x" * 100)
        stream.truncate(size)  # of zeros that take no place on the disk


def endless_cell(folder: Path) -> None:
    with (folder / "table.csv").open("a") as stream:
        stream.write('P9,9.png,left,a,"')
        for _ in range(300):
            stream.write("x" * (1 << 20) + "\n")


def pipe_as_table(folder: Path) -> None:
    (folder / "table.csv").unlink()
    os.mkfifo(folder / "table.csv")


def device_as_table(folder: Path) -> None:
    (folder / "table.csv").unlink()
    (folder / "table.csv").symlink_to("/dev/zero")


def image_row(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        make(folder / "images" / name)
        with (folder / "table.csv").open("a") as stream:
            stream.write(f"X,{name},left,a,Report.\n")

    return table_of(change)


def sparse_image(path: Path) -> None:
    with path.open("wb") as stream:
        stream.write(b"\x89PNG\r\n\x1a\n")
        stream.truncate(50 << 30)


def tsv_of(images: Callable[[Path], None], texts: bytes = b"") -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        (folder / "tsv").mkdir()
        (folder / "tsv/train_texts.jsonl").write_bytes(texts)
        images(folder / "tsv/train_imgs.tsv")
        begin()
        build_table(folder, source="retclip_tsv", manifest=folder / "tsv", **{"image-root": folder / "tsv"})

    return work


def sparse_tsv(path: Path) -> None:
    with path.open("wb") as stream:
        stream.write(b"P1\t")
        stream.truncate(6 << 30)


def small_tsv(path: Path) -> None:
    path.write_bytes(b"P1\tAAAA\tAAAA\n")


def lmdb_of(value: bytes, damage: Callable[[Path], None] | None = None) -> Callable[[Path], None]:
    """pairs and imgs of one patient whose pickle is the attack."""

    def work(folder: Path) -> None:
        import lmdb

        for name, entries in (("pairs", {b"0": pickle.dumps(("P1", "t", "text")), b"num_samples": b"1"}),
                              ("imgs", {b"P1": value, b"num_images": b"1"})):  # fmt: skip
            (folder / "stores" / name).mkdir(parents=True)
            environment = lmdb.open(str(folder / "stores" / name), map_size=1 << 24)
            with environment, environment.begin(write=True) as transaction:
                for key, content in entries.items():
                    transaction.put(key, content)
            if damage:
                damage(folder / "stores" / name / "data.mdb")
        begin()
        build_table(folder, source="retclip_lmdb", manifest=folder / "stores", **{"image-root": folder / "stores"})

    return work


def truncated(path: Path) -> None:
    os.truncate(path, 8192)


def zeroed(path: Path) -> None:
    """The pages behind the two that describe the file hold nothing but large numbers."""
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))


def deep_json(depth: int) -> bytes:
    return b"[" * depth


ALIASES = "\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"] + [
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 10)
])  # fmt: skip


def bomb_of_aliases(names: str = "a") -> str:
    """10^10 entries in a kilobyte."""
    return ALIASES.replace("a9", names) if names != "a" else ALIASES


def prompts_of(text: str) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        from retclip.core.logs import run_entry
        from retclip.core.prompts import class_prompts, prompts_hash

        (folder / "prompts.yaml").write_text(text)
        begin()

        def read(_: object) -> None:
            print(prompts_hash(folder / "prompts.yaml"))
            print(class_prompts(folder / "prompts.yaml", ["a9"]))

        run_entry(read)

    return work


def pipe_as_prompts(folder: Path) -> None:
    from retclip.core.logs import run_entry
    from retclip.core.prompts import class_prompts

    os.mkfifo(folder / "prompts.yaml")
    begin()
    run_entry(lambda _: print(class_prompts(folder / "prompts.yaml", ["a"])))


def pickle_of(value: bytes) -> Callable[[Path], None]:
    """A pickle alone: what a build says of it is said of its row."""

    def work(folder: Path) -> None:
        from retclip.core.logs import run_entry
        from retclip.data.sources.retclip import unpickle

        begin()
        run_entry(lambda _: print(unpickle(value)))

    return work


NO_COLUMN = r"error: .*image_pattern"
TIME = "error: .*pattern takes too long"
ATTACKS = {
    "image_pattern {dataset_index:>3000000000}": Attack(of_prompts("{dataset_index:>3000000000}.png"), NO_COLUMN),
    "image_pattern {label.__class__.__mro__}": Attack(of_prompts("{label.__class__.__mro__}.png"), NO_COLUMN),
    "image_pattern {dataset_index:{label}}": Attack(of_prompts("{dataset_index:{label}}.png"), NO_COLUMN),
    "image_pattern {nobody}": Attack(of_prompts("{nobody}.png"), NO_COLUMN),
    "image_pattern with an open brace": Attack(of_prompts("{dataset_index.png"), NO_COLUMN),
    "image_pattern of odir, {patient_id:>3000000000}": Attack(of_odir("{patient_id:>3000000000}.png"), NO_COLUMN),
    "image_pattern of odir, {patient_id!r}": Attack(of_odir("{patient_id!r}.png"), NO_COLUMN),
    "image_pattern of odir, {eye.__init__}": Attack(of_odir("{eye.__init__}.png"), NO_COLUMN),
    "image_pattern of a table, {patient_id:>3000000000}": Attack(
        table_of(unchanged, image_pattern="{patient_id:>3000000000}.png"), NO_COLUMN
    ),
    "patient pattern (a+)+$": Attack(
        table_of(named_by_letters, patient_id="pattern:^((a+)+)$"), "set aside: .*pattern", 0
    ),
    "column pattern (a|a)*$": Attack(
        table_of(long_names, columns={"label": {"pattern": "^((a|a)*)$"}}), TIME
    ),
    "table of 10^6 columns": Attack(table_of(million_columns), "error: .*columns", megabytes=250),
    "table with a line of 1 GB": Attack(table_of(endless_line), "error: .*line 42"),
    "table of 6 GB": Attack(table_of(lambda folder: endless_line(folder, 6 << 30)), "error: .*6,144 MB"),
    "table with a cell of 300 MB over many lines": Attack(table_of(endless_cell), "error: .*line 42"),
    "table that is a pipe": Attack(table_of(pipe_as_table), "error: .*no such file|error: .*pipe"),
    "table that is /dev/zero": Attack(table_of(device_as_table), "error: .*no such file|error: .*device"),
    "image that is a pipe": Attack(image_row("x.png", os.mkfifo), "set aside: the image file does not exist", 0),
    "image that is /dev/zero": Attack(
        image_row("x.png", lambda path: path.symlink_to("/dev/zero")), "set aside: ", 0
    ),
    "image file of 50 GB": Attack(image_row("x.png", sparse_image), "set aside: .* which is too large", 0),
    "TSV with a line of 6 GB": Attack(tsv_of(sparse_tsv), "error: .*line 1"),
    "JSON lines with one line of 300 MB": Attack(tsv_of(small_tsv, b'{"text": "' + b"x" * (300 << 20)), "error: "),
    "JSON lines nested 10^6 deep": Attack(tsv_of(small_tsv, deep_json(1_000_000)), "error: "),
    "LMDB cut short": Attack(lmdb_of(pickle.dumps(("AAAA", "AAAA")), truncated), "error: .*(damaged|LMDB)"),
    "LMDB whose pages are nonsense": Attack(lmdb_of(pickle.dumps(("AAAA", "AAAA")), zeroed), "error: .*(damaged|LMDB)"),
    "pickle in an LMDB with a memo index of 3 * 10^8": Attack(
        lmdb_of(b"\x80\x02N" + b"r" + struct.pack("<I", 3 * 10**8) + b"."), "error: .*pickle"
    ),
    "pickle with a memo index of 3 * 10^8": Attack(
        pickle_of(b"\x80\x02N" + b"r" + struct.pack("<I", 3 * 10**8) + b"."), "error: the pickle numbers its parts"
    ),
    "pickle that calls os.system": Attack(pickle_of(b"cos\nsystem\n(S'touch ran'\ntR."), "error: the pickle"),
    "pickle of 2^60 bytes": Attack(pickle_of(b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b"."), "error: the pickle"),
    "pickle with a frame of 2^40 bytes": Attack(
        pickle_of(b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N."), "error: the pickle"
    ),
    "pickle with a bytearray of 2^31 bytes": Attack(
        pickle_of(b"\x80\x05\x96" + struct.pack("<Q", 1 << 31) + b"x."), "error: the pickle"
    ),
    "pickle of 10^6 nested tuples": Attack(
        pickle_of(b"\x80\x02" + b"(" * 10**6 + b"t" * 10**6 + b"."), "error: the pickle"
    ),
    "pickle of a number of 10^6 digits": Attack(pickle_of(b"L" + b"9" * 10**6 + b"L\n."), "error: the pickle"),
    "prompts that are a bomb of aliases": Attack(prompts_of(bomb_of_aliases()), "error: .*aliases"),
    "prompts nested 10^5 deep": Attack(prompts_of("[" * 100_000), "error: .*YAML"),
    "prompts with a Python tag": Attack(prompts_of("a: !!python/object/apply:os.system [touch ran]"), "error: .*YAML"),
    "prompts that are a pipe": Attack(pipe_as_prompts, "error: .*prompts.yaml: is a pipe"),
    "class map that is a bomb of aliases": Attack(of_odir(class_map=bomb_of_aliases()), "error: .*aliases"),
    "class map with a pattern that backtracks": Attack(
        of_odir("{patient_id}.png", class_map="a: [a]\nb: [b, '" + "*a" * 200 + "b']\nignore: ['*']\n"), "", 0
    ),
}  # fmt: skip

"""A hook of mkdocs: the site's pages are the repository's own files, so that nothing is written twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOK = "docs/notebook.ipynb"


def on_files(files: Files, config: Any) -> Files:
    """Pages that the navigation names, figures and the notebook, each at its own path; what the theme brings stays."""
    figures = (path.relative_to(REPOSITORY).as_posix() for path in sorted(Path(config.docs_dir).iterdir()))
    names = (*_named(config.nav), *figures, NOTEBOOK)
    ours = [File.generated(config, name, abs_src_path=str(REPOSITORY / name)) for name in names]
    return Files([*ours, *(file for file in files if file.src_dir != config.docs_dir)])


def _named(nav: Any) -> Iterator[str]:
    for entry in nav:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else _named(value)

"""What a notebook around us sets for its own plots does not reach ours."""

import subprocess
import sys

from running import ENVIRONMENT, REPOSITORY

DRAWS = "from retclip.core.logs import run_entry; run_entry(lambda _: print(__import__('matplotlib.pyplot').__name__))"


def test_an_entry_draws_where_the_notebooks_way_to_show_figures_is_not_installed():
    environment = {
        **ENVIRONMENT,
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYTHONPATH": str(REPOSITORY / "scripts"),
    }
    done = subprocess.run([sys.executable, "-c", DRAWS], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "matplotlib\n"), done.stderr

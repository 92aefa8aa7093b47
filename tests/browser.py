"""The page in a real browser, which no request leaves."""

import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--enable-logging=stderr")  # fmt: skip


def chromium(folder, *arguments: object, proxy: str = "127.0.0.1:9") -> subprocess.CompletedProcess[str]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    command = [CHROMIUM, *FLAGS, f"--proxy-server={proxy}", f"--user-data-dir={folder / 'profile'}"]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line and "rror" in line]

"""What the README shows works as pasted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kcompile.cli.main import VERBS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_example_runs(tmp_path: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", README, re.S)[0]
    assert len(code.strip().splitlines()) <= 14
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "6 nodes, largest error" in done.stdout
    assert "(5, 10)" in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_is_listed(verb: str) -> None:
    assert f"`kcompile {verb} " in README

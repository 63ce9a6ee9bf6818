"""The import contracts hold, and docs/architecture.md says them in the same words."""

import re
import subprocess
import sys

from tests.architecture.repository import ROOT, contracts, read


def test_the_contracts_are_kept() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    ended = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def test_the_document_says_the_same_sentences() -> None:
    _, _, rest = read("docs/architecture.md").partition("## Who may import whom\n")
    section = rest.partition("\n## ")[0]
    said = {" ".join(item.split()).rstrip(".") for item in re.findall(r"(?ms)^- (.*?)(?=^- |^\n|\Z)", section)}
    assert said == set(contracts().values())

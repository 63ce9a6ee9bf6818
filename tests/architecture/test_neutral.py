"""No file ties the project to one machine, one index or one mirror, and none holds what looks like a secret."""

import re

from tests.architecture.repository import files, read

_TEXT = (".py", ".sql", ".md", ".toml", ".txt", ".yml", ".yaml", ".json", ".mako", ".example", ".api", ".worker")
_NAMED = ("Makefile", ".gitignore", ".dockerignore", ".ci/run", "LICENSE")
# Split, so that this file does not name what it forbids.
_PLACES = [
    "pypi" + r"\.org",
    r"python" + r"hosted\.org",
    r"registry\." + r"npmjs",
    r"deb\.debian" + r"\.org",
    r"/ho" + r"me/\w+",
    r"/Us" + r"ers/\w+",
    r"(?<![\w.])/wo" + r"rk/",
    r"/opt/" + r"(?:pypi|wheels)",
]
_SECRETS = [r"\bsk-[A-Za-z0-9]{20,}", r"\binf_live_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}\b", r"-----BEGIN [A-Z ]*PRIVATE KEY"]


def _found(patterns: list[str], path: str) -> list[str]:
    return [match[0] for pattern in patterns for match in re.finditer(pattern, read(path))]


def _texts() -> list[str]:
    return [path for path in files() if path.endswith(_TEXT) or path in _NAMED]


def test_no_file_names_a_registry_or_a_folder_of_one_machine() -> None:
    found = {path: places for path in _texts() if (places := _found(_PLACES, path))}
    assert not found


def test_no_file_holds_a_secret() -> None:
    found = {path: len(secrets) for path in _texts() if (secrets := _found(_SECRETS, path))}
    assert not found


def test_the_patterns_find_what_they_are_for() -> None:
    samples = ["https://pypi" + ".org/simple", "/ho" + "me/ada/inferd", "/wo" + "rk/main"]
    assert all(any(re.search(pattern, sample) for pattern in _PLACES) for sample in samples)

"""The images and the composition can be trusted without an engine at hand: what they name exists and fits together."""

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pytest

from core.settings import Settings, load_settings, variables
from tests.architecture.command_line import problem_with
from tests.architecture.docker_files import compose, environment, instructions, services, stages
from tests.architecture.repository import ROOT, files, pyproject, read

IMAGES = ("Dockerfile.api", "Dockerfile.worker")
OWN = ("migrate", "api", "worker")
_REQUIRED = re.compile(r"\$\{([A-Z_]+):\?[^}]+\}")
_DEFAULT = re.compile(r"\$\{[A-Z_]+:-([^}]*)\}")
_PUT_BACK_SECONDS = 5


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_composition_follows_the_compose_specification() -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "docker-compose.yml",
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def test_both_images_are_built_in_the_same_way() -> None:
    first, second = (stages(path)[0] for path in IMAGES)
    assert first == second


def test_what_is_copied_exists_and_is_not_ignored(image: str) -> None:
    patterns = [line for line in read(".dockerignore").split("\n") if line and not line.startswith("#")]
    kept = {pattern.strip("!/") for pattern in patterns if pattern.startswith("!")}
    assert patterns[0] == "*"
    for stage in stages(image):
        for copy in (each for each in stage if each.name == "COPY" and not dict(each.flags).get("from")):
            for source in copy.words[:-1]:
                name = source.rstrip("/")
                assert any(path == name or path.startswith(f"{name}/") for path in files()), source
                assert name in kept, source


def test_every_package_is_in_the_image(image: str) -> None:
    copied = {word.rstrip("/") for each in instructions(image, "COPY", stage=0) for word in each.words[:-1]}
    assert set(pyproject()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= copied


def test_shell_fragments_are_shell() -> None:
    fragments = [each.rest for path in IMAGES for stage in stages(path) for each in stage if each.name == "RUN"]
    commands = [
        words
        for service in services().values()
        for words in (service.get("command", []), service.get("healthcheck", {}).get("test", []))
    ]
    fragments += [
        words[-1].replace("$$", "$") for words in commands if words[:2] == ["sh", "-c"] or "CMD-SHELL" in words
    ]
    assert len(fragments) > 5
    for fragment in fragments:
        ended = subprocess.run(["bash", "-n", "-c", fragment], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{fragment}\n{ended.stderr}"


def test_dependencies_are_checked_by_hash(image: str) -> None:
    runs = " && ".join(each.rest for each in instructions(image, "RUN", stage=0))
    for words in re.findall(r"uv (?:pip sync|build)[^&]*", runs):
        assert "--require-hashes" in words
    assert "uv pip install --no-deps dist/" in runs
    named = set(re.findall(r"requirements/\w+\.txt", runs))
    assert named <= set(files())
    assert "requirements/runtime.txt" in named


def test_uv_is_the_makefiles(image: str) -> None:
    pinned = re.search(r"(?m)^UV_VERSION := (\S+)$", read("Makefile"))
    assert pinned is not None
    assert f'"uv=={pinned[1]}"' in read(image)


def test_the_base_is_pinned_and_new_enough(image: str) -> None:
    bases = [stage[0].rest.split()[0] for stage in stages(image)]
    assert len(set(bases)) == 1
    version = re.fullmatch(r"python:(\d+)\.(\d+)-slim-\w+", bases[0])
    assert version is not None
    lowest = re.fullmatch(r">=(\d+)\.(\d+)", pyproject()["project"]["requires-python"])
    assert lowest is not None
    assert (int(version[1]), int(version[2])) >= (int(lowest[1]), int(lowest[2]))


def test_the_image_runs_as_nobody_in_particular(image: str) -> None:
    last = stages(image)[-1]
    (user,) = instructions(image, "USER")
    uid, gid = map(int, user.rest.split(":"))
    assert min(uid, gid) >= 1000
    assert not [each for each in last[last.index(user) :] if each.name in {"COPY", "RUN"}]
    assert f"--uid {uid} " in read(image)
    assert f"--gid {gid} " in read(image)


def test_the_image_starts_and_probes_with_commands_that_exist(image: str) -> None:
    (start,) = instructions(image, "CMD")
    (health,) = instructions(image, "HEALTHCHECK")
    role = PurePosixPath(image).suffix[1:]
    assert start.words == ["inferd", role]
    assert {name for name, _ in health.flags} == {"interval", "timeout", "start-period", "retries"}
    probe = health.rest.removeprefix("CMD ").strip("[]").replace('"', "").replace(",", "")
    assert probe.startswith("inferd doctor --live")
    assert not [problem for problem in map(problem_with, (" ".join(start.words), probe)) if problem]
    assert [each.rest for each in instructions(image, "STOPSIGNAL")] == ["SIGTERM"]


def test_ports_are_the_settings(image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings(monkeypatch, environment(image))
    (exposed,) = instructions(image, "EXPOSE")
    port = settings.api.port if image == "Dockerfile.api" else settings.worker.metrics_port
    assert int(exposed.rest) == port
    if image == "Dockerfile.api":
        assert settings.api.host == "0.0.0.0"  # noqa: S104 - inside a container


def test_every_variable_is_a_setting() -> None:
    named = {name for path in IMAGES for name in environment(path) if name.startswith("INFERD_")}
    for service in services().values():
        named |= {name for name in service.get("environment", {}) if name.startswith("INFERD_")}
    assert named
    assert named <= set(variables())


def test_every_variable_of_the_example_is_passed_on() -> None:
    """An unset one stays unset: its value here is null, which Compose takes from .env or leaves out."""
    example = set(re.findall(r"(?m)^#?(INFERD_[A-Z_]+)=", read(".env.example")))
    given = {name: services()[name]["environment"] for name in OWN}
    images = {name for path in IMAGES for name in environment(path)}
    assert example - {"INFERD_DATA_DIR"} - images == set().union(*given.values())
    shared = example - images - {"INFERD_DATA_DIR", "INFERD_DATABASE_OWNER_URL", "INFERD_API_URL", "INFERD_API_KEY"}
    for name in ("api", "worker"):
        assert shared <= set(given[name]), name
        fixed = {key for key, value in given[name].items() if value is not None}
        assert fixed == {"INFERD_DATABASE_URL", "INFERD_REDIS_URL", "INFERD_ECHO_ENABLED"}


def test_the_scripted_models_are_off_unless_asked_for() -> None:
    for name in ("api", "worker"):
        assert services()[name]["environment"]["INFERD_ECHO_ENABLED"] == "${INFERD_ECHO_ENABLED:-false}"


def test_there_is_no_default_secret() -> None:
    text = read("docker-compose.yml")
    assert set(_REQUIRED.findall(text)) == {"POSTGRES_PASSWORD", "REDIS_PASSWORD"}
    assert re.findall(r"\$\{([A-Z_]+)", _REQUIRED.sub("", text)) == ["INFERD_ECHO_ENABLED"]
    example = read(".env.example")
    assert all(f"\n{name}=\n" in example for name in _REQUIRED.findall(text))


@pytest.mark.parametrize("name", ["api", "worker"])
def test_the_stores_are_the_services(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = services()[name]["environment"]
    filled = {
        key: _DEFAULT.sub(r"\1", _REQUIRED.sub("s3cret", value)) for key, value in given.items() if value is not None
    }
    settings = _settings(monkeypatch, {**environment(f"Dockerfile.{name}"), **filled})
    for url, port in ((settings.database.url, 5432), (settings.redis.url, 6379)):
        parts = urlsplit(url.get_secret_value())
        assert parts.hostname in services()
        assert parts.port == port
        assert parts.password == "s3cret"
    database = services()["postgres"]["environment"]
    assert urlsplit(settings.database.url.get_secret_value()).path == f"/{database['POSTGRES_DB']}"


def test_services_wait_for_what_they_need() -> None:
    for name, service in services().items():
        for other, how in service.get("depends_on", {}).items():
            one_shot = services()[other].get("restart") == "no"
            assert how["condition"] == ("service_completed_successfully" if one_shot else "service_healthy"), name
            assert one_shot or "test" in services()[other]["healthcheck"], other
    assert set(services()["api"]["depends_on"]) == set(services()["worker"]["depends_on"]) == {"migrate", "redis"}
    assert services()["migrate"]["command"] == ["inferd", "migrate"]
    assert problem_with("inferd migrate") is None


def test_every_service_is_hardened() -> None:
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert "/tmp" in service["tmpfs"], name  # noqa: S108 - a mount in a container
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert name in OWN or service["user"] != "root", name


def test_the_stores_are_durable_and_shut_in() -> None:
    redis = services()["redis"]["command"][-1]
    assert "--appendonly yes" in redis
    assert "--maxmemory-policy noeviction" in redis
    assert "--requirepass" in redis
    assert services()["postgres"]["image"] == "pgvector/pgvector:pg17"
    for store in ("postgres", "redis"):
        assert services()[store]["networks"] == ["stores"]
        assert "ports" not in services()[store]
        assert services()[store]["volumes"][0].partition(":")[0] in compose()["volumes"]
    assert compose()["networks"]["stores"] == {"internal": True}


def test_the_api_is_published_on_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    port = _settings(monkeypatch, environment("Dockerfile.api")).api.port
    assert services()["api"]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_workers_are_two_and_may_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = services()["worker"]
    assert worker["deploy"]["replicas"] == 2
    drain = _settings(monkeypatch, environment("Dockerfile.worker")).worker.drain_seconds
    assert int(worker["stop_grace_period"].removesuffix("s")) > drain + _PUT_BACK_SECONDS


def test_own_images_are_built_from_files_that_exist() -> None:
    for name in OWN:
        assert services()[name]["build"]["dockerfile"] in IMAGES
    others = {name: service["image"] for name, service in services().items() if name not in OWN}
    assert all(not fnmatch(tag, "*:latest") and ":" in tag for tag in others.values())


def _settings(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> Settings:
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INFERD_DATABASE_URL", "postgresql://inferd@localhost/inferd")
    monkeypatch.setenv("INFERD_REDIS_URL", "redis://localhost")
    for name, value in given.items():
        if name.startswith("INFERD_"):
            monkeypatch.setenv(name, value)
    return load_settings(_env_file=None)

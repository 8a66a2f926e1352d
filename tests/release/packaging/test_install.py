"""Wheel and sdist, installed as a user would: into a fresh environment, without a compiler."""

import configparser
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
BINDING = {"3.11": "plyvel", "3.12": "plyvel", "3.13": "plyvel_next", "3.14": "plyvel_next"}
"""On Linux x86-64."""
_CHECK = (
    "import sys, sysconfig, ensurepip, venv\n"
    "free_threaded = bool(sysconfig.get_config_var('Py_GIL_DISABLED'))\n"
    "sys.exit('%d.%d' % sys.version_info[:2] != sys.argv[1] or free_threaded)"
)


def _pythons() -> dict[str, str]:
    """An interpreter of each supported version that is here and works; a pyenv shim may be there and not work."""
    found: dict[str, str] = {}
    for version in SUPPORTED:
        versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
        candidates = [sys.executable, shutil.which(f"python{version}"), *versions.glob(f"{version}.*/bin/python")]
        for each in candidates:
            if each and subprocess.run([each, "-c", _CHECK, version], capture_output=True).returncode == 0:
                found.setdefault(version, str(each))
    return found


PYTHONS = _pythons()
NO_COMPILER = {"CC": "/bin/false", "CXX": "/bin/false"}


def run(*command: object, **environment: str) -> str:
    done = subprocess.run(
        [str(each) for each in command],
        env=os.environ | NO_COMPILER | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = tmp_path_factory.mktemp("source")
    for name in ("src", "README.md", "LICENSE", "pyproject.toml"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--outdir", folder, ROOT)
    (made,) = folder.glob("*.tar.gz")
    return made


def test_what_is_in_the_sdist(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    """What is needed to test it, and a wheel that is the same as the one from the repository."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        assert set(listed.stdout.split()) - names <= {".gitignore"}
    assert {
        "packaging/alerts.yml",
        "packaging/grafana.json",
        "packaging/level-replicator.service",
        "CONTRIBUTING.md",
        "docs/conf.py",
    } <= names
    assert not any(".venv" in name or "__pycache__" in name for name in names)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, sdist)
    (made,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(made) as ours, zipfile.ZipFile(wheel) as theirs:
        assert sorted(ours.namelist()) == sorted(theirs.namelist())


def test_what_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("METADATA"))
        (entry,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    assert {"level_replicator/py.typed", "level_replicator/api/monitoring/status_page.html"} <= set(names)
    assert any(name.endswith("LICENSE") for name in names)
    assert all(name.startswith(("level_replicator/", "level_replicator-")) for name in names)
    fields = [line.partition(": ")[::2] for line in metadata.splitlines()]
    needed = {value for name, value in fields if name == "Requires-Dist" and "extra" not in value}
    assert {each.split(">")[0] for each in needed} == {"plyvel", "plyvel-next", "msgspec"}
    python = {value for name, value in fields if name == "Requires-Python"}
    assert python == {">=3.11"}
    prefix = "Programming Language :: Python :: 3."
    versions = {value for name, value in fields if name == "Classifier" and value.startswith(prefix)}
    assert versions == {f"Programming Language :: Python :: {version}" for version in SUPPORTED}
    extras = {value for name, value in fields if name == "Provides-Extra"}
    assert {"tls", "cli", "metrics", "all"} <= extras
    scripts = configparser.ConfigParser()
    scripts.read_string(entry)
    assert set(scripts["console_scripts"]) == {"level-replicator", "lrep"}


@pytest.mark.parametrize(
    ("python", "system", "machine", "expected"),
    [
        ("3.11", "linux", "x86_64", "plyvel"),
        ("3.11", "darwin", "arm64", "plyvel"),
        ("3.12", "linux", "x86_64", "plyvel"),
        ("3.12", "linux", "aarch64", "plyvel-next"),
        ("3.12", "darwin", "arm64", "plyvel-next"),
        ("3.12", "win32", "AMD64", "plyvel-next"),
        ("3.13", "linux", "x86_64", "plyvel-next"),
        ("3.14", "win32", "AMD64", "plyvel-next"),
    ],
)
def test_the_markers_choose_one_binding(python: str, system: str, machine: str, expected: str) -> None:
    packaging = pytest.importorskip("packaging.requirements")
    where = {"python_version": python, "sys_platform": system, "platform_machine": machine}
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    needed = [packaging.Requirement(each) for each in listed]
    chosen = {each.name for each in needed if each.marker is None or each.marker.evaluate(where)}
    assert chosen == {"msgspec", expected}


REPLICATE = """
import sys
import level_replicator as lrep

with lrep.open(sys.argv[1] + "/a", {"port": 0}) as a:
    server = f"127.0.0.1:{a.address[1]}"
    with lrep.open(sys.argv[1] + "/b", {"servers": {server: {}}}) as b:
        a.put(b"key", b"value")
        assert b.wait_synced(60)
        print(b.get(b"key").decode(), lrep.plyvel.__name__)
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", SUPPORTED)
def test_it_installs_and_replicates(wheel: Path, tmp_path: Path, version: str) -> None:
    """With its two dependencies only, from wheels; what needs an extra says which."""
    if version not in PYTHONS:
        pytest.skip(f"no CPython {version} with venv is on PATH or among pyenv's versions")
    run(PYTHONS[version], "-m", "venv", tmp_path / "venv")
    binaries = tmp_path / "venv" / "bin"
    run(binaries / "python", "-m", "pip", "install", "-q", "--only-binary", ":all:", wheel)
    replicated = run(binaries / "python", "-W", "error", "-c", REPLICATE, tmp_path, PYTHONPATH="").split()
    assert replicated[0] == "value"
    if (sys.platform, platform.machine()) == ("linux", "x86_64"):
        assert replicated[1] == BINDING[version]
    assert run(binaries / "lrep", "get", tmp_path / "a", "key", PYTHONPATH="") == "value"
    assert "usage:" in run(binaries / "python", "-m", "level_replicator", PYTHONPATH="")
    run(binaries / "lrep", "keygen", "--help", PYTHONPATH="")
    for command, extra in (
        (["keygen", tmp_path / "pems"], "tls"),
        (["completion", "bash"], "cli"),
    ):
        failed = subprocess.run(
            [binaries / "lrep", *command],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": ""},
            timeout=60,
        )
        assert failed.returncode == 1
        assert f"level-replicator[{extra}]" in failed.stderr
        assert len(failed.stderr.splitlines()) == 1


def test_the_unit_names_a_command_that_there_is() -> None:
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(ROOT / "packaging" / "level-replicator.service")
    assert unit["Service"]["Type"] == "notify"
    program, command, *arguments = unit["Service"]["ExecStart"].split()
    assert (Path(program).name, command) == ("level-replicator", "serve")
    from level_replicator.cli import main

    parsed = main._parser().parse_args([command, *arguments])
    assert parsed.command.NAME == "serve"

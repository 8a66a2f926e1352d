"""Wheel and sdist, installed as a user would: into a fresh environment, without a compiler."""

import configparser
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def _pythons() -> dict[str, str]:
    """This one, and the others of those that are supported and are here; a pyenv shim may be there and not work."""
    found = {f"{sys.version_info[0]}.{sys.version_info[1]}": sys.executable}
    for version in ("3.11", "3.12"):
        candidates = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
        for each in candidates:
            works = each and subprocess.run([each, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0
            if works:
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
    assert {each.split(">")[0] for each in needed} == {"plyvel", "msgspec"}
    extras = {value for name, value in fields if name == "Provides-Extra"}
    assert {"tls", "cli", "metrics", "all"} <= extras
    scripts = configparser.ConfigParser()
    scripts.read_string(entry)
    assert set(scripts["console_scripts"]) == {"level-replicator", "lrep"}


@pytest.mark.parametrize("version", sorted(PYTHONS))
def test_it_installs_and_works(wheel: Path, tmp_path: Path, version: str) -> None:
    """With its two dependencies only; what needs an extra says which."""
    run(PYTHONS[version], "-m", "venv", tmp_path / "venv")
    binaries = tmp_path / "venv" / "bin"
    run(binaries / "python", "-m", "pip", "install", "-q", "--only-binary", ":all:", wheel)
    node = tmp_path / "node"
    run(binaries / "lrep", "keygen", "--help")
    code = f"import level_replicator as lrep\nwith lrep.open({str(node)!r}) as r: r.put(b'key', b'value')"
    run(binaries / "python", "-W", "error", "-c", code)
    assert run(binaries / "lrep", "get", node, "key") == "value"
    for command, extra in ((["keygen", tmp_path / "pems"], "tls"), (["top", node], "cli")):
        failed = subprocess.run([binaries / "lrep", *command], capture_output=True, text=True)
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

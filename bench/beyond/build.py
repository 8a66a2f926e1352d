"""Compiles the prototypes into build/beyond, when a compiler and the headers are there."""

import importlib.util
import shutil
import subprocess
import sysconfig
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
TARGET = HERE.parents[1] / "build" / "beyond"
SUFFIX = ".abi3.so"
_FLAGS = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden", "-s"]
# LevelDB is linked in, and hidden: plyvel brings its own, of another version, into the same process
_LIBRARIES = {
    "codec": ["-lz"],
    "pair": ["-Wl,--exclude-libs,ALL", "-l:libleveldb.a", "-l:libsnappy.a", "-lz", "-lpthread"],
}
_ADVICE = "needs g++, Python's headers, zlib1g-dev, libleveldb-dev and libsnappy-dev (names as in Debian)"


def build() -> dict[str, str]:
    """Module → why it is not there; nothing for what is."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        return dict.fromkeys(_LIBRARIES, f"no C++ compiler; it {_ADVICE}")
    TARGET.mkdir(parents=True, exist_ok=True)
    return {name: problem for name in _LIBRARIES if (problem := _build(compiler, name))}


def _build(compiler: str, name: str) -> str:
    target = TARGET / (name + SUFFIX)
    sources = [Path(__file__), *(HERE / "native").iterdir()]
    if target.exists() and target.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return ""
    include = sysconfig.get_paths()["include"]
    source = str(HERE / "native" / f"{name}.cpp")
    command = [compiler, *_FLAGS, f"-I{include}", source, "-o", str(target), *_LIBRARIES[name]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    errors = [line for line in done.stderr.splitlines() if "error" in line or "cannot find" in line]
    return f"{'; '.join(errors[:2])}; it {_ADVICE}"


def load(name: str) -> ModuleType:
    """Raises ImportError when it was not built."""
    spec = importlib.util.spec_from_file_location(name, TARGET / (name + SUFFIX))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""The command line without a command, as a module, in a shell's completion, and without colours."""

import errno
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from level_replicator.cli import main as cli
from level_replicator.core.errors import ConfigError, LockedError


def test_without_a_command_it_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: level-replicator ")
    assert all(f"    {command.NAME}" in out for command in cli.COMMANDS)
    assert err == ""


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        cli.main(["nonsense"])
    assert exited.value.code == 2
    assert "invalid choice: 'nonsense'" in capsys.readouterr().err


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "level_replicator", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("level-replicator ")


@pytest.mark.parametrize("program", ["lrep", "level-replicator"])
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_the_shell_accepts(
    shell: str, program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("shtab", reason="needs the extra cli")
    assert cli.main(["completion", shell, "--program", program]) == 0
    script = capsys.readouterr().out
    assert all(command.NAME in script for command in cli.COMMANDS)
    found = shutil.which(shell)
    if found is not None:
        (tmp_path / "script").write_text(script, "utf-8")
        subprocess.run([found, "-n", tmp_path / "script"], check=True, timeout=60)


def _complete_in_bash(script: Path, words: list[str]) -> set[str]:
    code = (
        f'source {script}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_lrep; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", code, "bash", *words], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_and_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab", reason="needs the extra cli")
    cli.main(["completion", "bash"])
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out, "utf-8")
    assert {"serve", "status", "scan"} <= _complete_in_bash(script, ["lrep", "s"])
    assert _complete_in_bash(script, ["lrep", "serve", "--por"]) == {"--port"}


def test_completion_without_shtab_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["completion", "bash"]) == 1
    assert "pip install 'level-replicator[cli]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        (None, 2),
        (FileNotFoundError(errno.ENOENT, "No such file"), 2),
        (ValueError("not TOML"), 2),
        (OSError(errno.EADDRINUSE, "Address in use"), 1),
        (PermissionError(errno.EACCES, "Permission denied"), 1),
        (ImportError("rich"), 1),
    ],
)
def test_the_exit_status_of_wrong_settings_is_2_and_of_a_failure_1(cause: Exception | None, status: int) -> None:
    error = ConfigError("text")
    error.__cause__ = cause
    assert cli.exit_status_of(error) == status
    assert cli.exit_status_of(LockedError("text")) == 1


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    rich_console = pytest.importorskip("rich.console")
    from level_replicator.cli.demo.rich_screen import RichScreen
    from level_replicator.cli.demo.screen import Row

    def drawn() -> str:
        terminal = io.StringIO()
        console = rich_console.Console(file=terminal, force_terminal=True, color_system="standard", width=100)
        screen = RichScreen(console)
        screen.show([Row("m1", "killed", links=0, written=0, received=0, behind=0, keys=0)])
        screen.close()
        return terminal.getvalue()

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "31m" in drawn()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in drawn()

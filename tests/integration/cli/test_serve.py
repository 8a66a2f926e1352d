"""`level-replicator serve`, as a process."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import level_replicator as lrep
from level_replicator.cli import main as cli
from level_replicator.cli import serve

TIMEOUT_S = 60


@contextmanager
def served(*arguments: object, **environment: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The process, and its ready line."""
    command = [sys.executable, "-m", "level_replicator.cli.main", "serve", *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield process, line
        finally:
            process.kill()


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Its exit status, and what it logged."""
    _, errors = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, errors


def test_two_that_replicate_until_they_are_told_to_stop(tmp_path: Path) -> None:
    with lrep.open(tmp_path / "a") as a:
        a.put(b"key", b"value")
    with ExitStack() as stack:
        one, line = stack.enter_context(served(tmp_path / "a", "--port", 0, "--json"))
        ready = json.loads(line)
        assert ready["keys"] == 1
        two, line = stack.enter_context(served(tmp_path / "b", "--server", ready["address"]))
        assert re.fullmatch(
            rf"ready: not listening, (0 keys|1 key), dialling {ready['address']}, origin [0-9a-f]+\n", line
        )
        assert two.stderr is not None
        while "connected" not in (logged := two.stderr.readline()):
            assert logged
        with lrep.open(tmp_path / "c", {"servers": {ready["address"]: {}}}) as c:
            assert c.wait_synced(TIMEOUT_S)
            assert c.get(b"key") == b"value"
        for process, how in ((two, signal.SIGTERM), (one, signal.SIGINT)):
            process.send_signal(how)
            status, errors = ended(process)
            assert status == 0
            assert "Traceback" not in errors
    with lrep.open(tmp_path / "a") as a:
        assert a.status()["keys"] == 1


SIGNALLED = """
import os, signal, sys, threading
from pathlib import Path
from level_replicator.cli import main as cli, serve

def terminate():
    # the state of the main thread: asleep
    while Path(f"/proc/self/task/{os.getpid()}/stat").read_text().rpartition(") ")[2][0] != "S":
        pass
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

serve.notify_systemd = lambda state: state == "READY=1" and threading.Thread(target=terminate).start()
sys.exit(cli.main(["serve", sys.argv[1]]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at threads by /proc")
def test_a_signal_that_another_thread_gets(tmp_path: Path) -> None:
    """While the main one sleeps, which the kernel may choose when that one was just busy."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(tmp_path / "a")], capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr


def test_settings_from_a_file_and_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "pems.json").write_text(json.dumps(lrep.generate_pems()))
    (tmp_path / "trusted").write_text("")
    config = tmp_path / "config.toml"
    config.write_text('pems = "pems.json"\nhost = "127.0.0.1"\nport = 1\n[servers]\n"127.0.0.1:2" = {}\n')
    pin = lrep.fingerprint(tmp_path / "pems.json")
    arguments = ["--config", config, "--trusted", tmp_path / "trusted", "--port", 0, "--server", f"127.0.0.1:3={pin}"]
    with served(tmp_path / "a", *arguments, "--json", "--pull-only") as (process, line):
        ready = json.loads(line)
        assert ready["fingerprint"] == pin
        assert ready["servers"] == ["127.0.0.1:2", "127.0.0.1:3"]
        assert not ready["address"].endswith(":1")
        process.terminate()
        assert ended(process)[0] == 0


def _logged(process: "subprocess.Popen[str]", text: str) -> str:
    """Read what the process logs up to a line with this text."""
    assert process.stderr is not None
    read = ""
    while text not in read:
        line = process.stderr.readline()
        assert line, read
        read += line
    return read


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_sighup_reloads_the_trusted_list_and_the_log_level(tmp_path: Path) -> None:
    pems = [lrep.generate_pems(), lrep.generate_pems()]
    prints = [lrep.fingerprint(each) for each in pems]
    (tmp_path / "pems.json").write_text(json.dumps(pems[0]))
    config = tmp_path / "config.toml"
    start = f'pems = "pems.json"\nport = 0\nlog_max_age = "30d"\ntrusted = ["{prints[0]}"'
    config.write_text(start + "]\n")
    with served(tmp_path / "a", "--config", config, "--json") as (process, line):
        address = json.loads(line)["address"]
        config.write_text(start + f', "{prints[1]}"]\n')
        process.send_signal(signal.SIGHUP)
        _logged(process, "the settings were reloaded")
        server = {address: {"fingerprint": prints[0]}}
        with lrep.open(tmp_path / "b", {"servers": server, "pems": pems[1]}) as b:
            assert b.wait_synced(TIMEOUT_S)
        config.write_text(start + ']\nheartbeat = "2s"\nlog_level = "warning"\n')
        process.send_signal(signal.SIGHUP)
        assert "need a restart: heartbeat" in _logged(process, "need a restart")
        config.write_text("nonsense = 1\n")
        process.send_signal(signal.SIGHUP)
        assert "unknown key 'nonsense'" in _logged(process, "were not reloaded")
        process.terminate()
        assert ended(process)[0] == 0


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_no_content_of_the_config_file_ends_a_running_node(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("port = 0\n")
    with served(tmp_path / "a", "--config", config, "--server", "127.0.0.1:9") as (process, _):
        for damaged in (
            'log_level = ["info"]',
            "log_level = 0x" + "f" * 5_000,
            "servers = 5",
            f'log_max_bytes = "{"9" * 400}"',
            "a = " + "[" * 5_000,
            "port = " + "9" * 5_000,
        ):
            config.write_text(damaged + "\n")
            process.send_signal(signal.SIGHUP)
            _logged(process, "were not reloaded")
        process.terminate()
        assert ended(process)[0] == 0


def test_plain_tcp_beyond_loopback_can_be_allowed(tmp_path: Path) -> None:
    with served(tmp_path / "a", "--host", "0.0.0.0", "--port", 0, "--insecure") as (process, line):
        assert line.startswith("ready: listening on 0.0.0.0:")
        process.terminate()
        assert ended(process)[0] == 0


def test_systemd_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(TIMEOUT_S)
        with served(tmp_path / "a", NOTIFY_SOCKET=str(tmp_path / "notify")) as (process, _):
            assert notify.recv(100) == b"READY=1"
            process.terminate()
            assert notify.recv(100) == b"STOPPING=1"
            assert ended(process)[0] == 0


def test_adopting(tmp_path: Path) -> None:
    from level_replicator import plyvel

    (tmp_path / "a").mkdir()
    with plyvel.DB(str(tmp_path / "a" / "db"), create_if_missing=True) as db:
        db.put(b"key", b"value")
    with served(tmp_path / "a") as (process, line):
        assert line == ""
        status, errors = ended(process)
    assert status == 2
    assert "adopt" in errors
    with served(tmp_path / "a", "--adopt") as (process, line):
        assert "1 key," in line
        process.terminate()
        assert ended(process)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port", "99999"], "port: 99999"),
        (["--server", "nowhere"], "is not host:port"),
        (["--server", "127.0.0.1:1=x"], "hexadecimal digits"),
        (["--config", "/nowhere.toml"], "No such file"),
        (["--host", "0.0.0.0", "--port", "0"], "plain TCP is for loopback"),
        (["--pems", "/nowhere.json"], "no peer would be accepted"),
    ],
)
def test_what_cannot_be(tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "--pems" in arguments:
        arguments = [*arguments, "--port", "0"]
    assert cli.main(["serve", str(tmp_path / "a"), *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert says in told.err
    assert told.err.startswith("level-replicator serve: ")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("prot = 8000", [], "bad.toml: "),
        ("prot = 8000", ["--port", "0"], "bad.toml: "),
        ('log_level = "loud"', [], "bad.toml: log_level: "),
        ("heartbeat = 10", ["--port", "99999"], "port: 99999"),
    ],
)
def test_a_mistake_in_the_config_file_names_the_file(
    tmp_path: Path,
    content: str,
    options: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text(content, "utf-8")
    assert cli.main(["serve", "a", "--config", "bad.toml", *options]) == 2
    assert capsys.readouterr().err.startswith(f"level-replicator serve: {says}")


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["serve", "--help"])
    assert stopped.value.code == 0
    assert serve.Serve.HELP in " ".join(capsys.readouterr().out.split())

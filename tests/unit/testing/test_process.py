"""Process: requests, answers and events in order, and an end that is noticed at once and explained."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from level_replicator.testing.process import Process, ProcessEnded, ProcessTimeout, RequestFailed

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 60.0


class EchoProcess(Process):
    def __init__(self, log: Path) -> None:
        self.counted: list[int] = []
        super().__init__(
            [sys.executable, "-m", "tests.unit.testing.echo"],
            name="the echo",
            log=log,
            environment={"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
            on_event=lambda event: self.counted.append(event["number"]),
            answer_timeout_s=TIMEOUT_S,
        )


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[EchoProcess]:
    with ExitStack() as stack:
        process = EchoProcess(tmp_path / "log")
        stack.callback(process.kill)
        yield process


@pytest.mark.parametrize("value", [None, 5, "text", [1, {"a": None}]])
def test_a_request_is_answered(echo: EchoProcess, value: Any) -> None:
    assert echo.call("echo", value=value) == value


def test_requests_are_answered_in_order_while_others_wait(echo: EchoProcess) -> None:
    for number in range(100):
        echo.send("echo", value=number)
    assert echo.unanswered == 100
    assert [echo.answer() for _ in range(100)] == list(range(100))
    assert echo.unanswered == 0


def test_events_come_before_the_answer_that_follows_them(echo: EchoProcess) -> None:
    echo.call("count", to=3)
    assert echo.counted == [1, 2, 3]


def test_an_event_can_be_awaited(echo: EchoProcess) -> None:
    echo.send("count", to=3)
    echo.wait_for(lambda: 3 in echo.counted, "count to 3", TIMEOUT_S)


def test_a_wait_for_an_event_that_does_not_come_has_an_end(echo: EchoProcess) -> None:
    with pytest.raises(ProcessTimeout, match="count to 4"):
        echo.wait_for(lambda: 4 in echo.counted, "count to 4", 0.01)


def test_a_request_that_fails_is_an_error_and_the_program_continues(echo: EchoProcess) -> None:
    with pytest.raises(RequestFailed, match="the echo could not fail: ValueError: as asked"):
        echo.call("fail")
    assert echo.call("echo", value=1) == 1


def test_an_end_before_the_answer_is_noticed_and_explained(echo: EchoProcess) -> None:
    with pytest.raises(ProcessEnded, match=r"before 'exit' was done, with status 7(?s:.*)the last words"):
        echo.call("exit", status=7)
    assert echo.returncode == 7
    with pytest.raises(ProcessEnded):
        echo.call("echo", value=1)


def test_an_end_while_an_event_is_awaited_is_noticed(echo: EchoProcess) -> None:
    echo.send("exit", status=0)
    with pytest.raises(ProcessEnded, match="the next event"):
        echo.wait_for(lambda: False, "the next event", TIMEOUT_S)


def test_half_a_line_is_no_answer(echo: EchoProcess) -> None:
    with pytest.raises(ProcessEnded, match="by SIGKILL"):
        echo.call("die_in_the_middle_of_a_line")


def test_only_the_stderr_of_this_run_is_shown(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("of an earlier run\n")
    with EchoProcess(tmp_path / "log") as echo, pytest.raises(ProcessEnded) as caught:
        echo.call("exit", status=0)
    assert "the last words" in str(caught.value)
    assert "earlier" not in str(caught.value)
    assert (tmp_path / "log").read_text().startswith("of an earlier run\n")


def test_a_suspended_process_answers_after_it_continues(echo: EchoProcess) -> None:
    echo.call("echo", value=0)
    echo.suspend()
    os.waitid(os.P_PID, echo.pid, os.WSTOPPED)
    echo.send("echo", value=1)
    echo.resume()
    assert echo.answer() == 1


def test_a_suspended_process_can_be_killed(echo: EchoProcess) -> None:
    echo.suspend()
    echo.kill()
    echo.kill()
    assert echo.returncode == -signal.SIGKILL


def test_the_program_ends_with_its_stdin(echo: EchoProcess) -> None:
    echo.call("echo", value=1)
    assert echo.close() == 0

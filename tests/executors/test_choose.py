"""What `--executor` takes, and one line for what it does not; which task a worker takes next."""

import importlib.util
import socket
import threading

import pytest
from typer.testing import CliRunner

import toast_core.executors.choose as choose
from tests.support.works import Squares
from toast_core.cli.app import app
from toast_core.errors import ExecutorError, ToastError
from toast_core.executors import Local, connecting, open_executor
from toast_core.executors.connecting import check_address
from toast_core.executors.queueing import TaskQueue


class TestNames:
    def test_local_is_this_process(self) -> None:
        with open_executor("local", "cpu") as executor:
            assert executor == Local("cpu") and executor.in_order and executor.workers == 1
            assert [result[1] for _, result in executor.map(Squares(), [1, 2])] == ["as made", "as made"], "the device is the caller's"

    @pytest.mark.parametrize("name", ["", "dask", "ray:", "ray:head", "ray:6379", "ray::1", "ray:head:port", "ray:head:70000", "local:1"])
    def test_strangers(self, name: str) -> None:
        with pytest.raises(ExecutorError, match=f"unknown executor '{name}'; choose local, ray, or ray:HOST:PORT"):
            open_executor(name)

    def test_workers_are_rays(self) -> None:
        with pytest.raises(ExecutorError, match="2 workers were asked for, but --executor local runs in this process; use --executor ray"):
            open_executor("local", workers=2)
        with pytest.raises(ExecutorError, match="workers is 0; write a whole number of at least 1"):
            open_executor("ray", workers=0)

    def test_without_ray(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(choose, "find_spec", lambda name: None)
        with pytest.raises(ExecutorError, match=r"--executor ray needs Ray, which is not installed; .* 'toast-studio\[scale\]'"):
            open_executor("ray")

    def test_it_is_a_toast_error(self) -> None:
        assert issubclass(ExecutorError, ToastError) and issubclass(ExecutorError, RuntimeError)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray, an extra, is not installed")
class TestUnreachable:
    """Nothing there, something silent, something else."""

    @pytest.mark.parametrize("command", ["analyze", "evaluate"])
    def test_no_one_listens(self, command: str) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{closed.getsockname()[1]}"
            done = CliRunner().invoke(app, [command, "--model", "demo_vit", "--data", "fashion-mnist", "--executor", f"ray:{address}"])
        assert isinstance(done.exception, ExecutorError)
        assert str(done.exception).startswith(f"no Ray cluster can be reached at {address} (Connection refused); start one with ray start")
        assert "\n" not in str(done.exception)

    def test_a_name_that_is_none(self) -> None:
        with pytest.raises(ExecutorError, match=r"no Ray cluster can be reached at nowhere\.invalid:6379"):
            check_address("nowhere.invalid:6379")

    def test_one_that_says_nothing_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connecting, "CONNECT_TIMEOUT_S", 1)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            with pytest.raises(ExecutorError, match=f"no Ray cluster answers at {address} within 1 s; start one"):
                check_address(address)

    def test_one_that_is_no_ray(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as web:
            def answer() -> None:
                connection, _ = web.accept()
                with connection:
                    connection.recv(100)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            threading.Thread(target=answer, daemon=True).start()
            address = f"127.0.0.1:{web.getsockname()[1]}"
            with pytest.raises(ExecutorError, match=f"what answers at {address} is no Ray cluster; start one"):
                check_address(address)


class TestQueue:
    def test_a_worker_stays_with_its_group_and_then_begins_another(self) -> None:
        queue = TaskQueue([(0, "a"), (0, "b"), (1, "c"), (1, "d")], group=lambda task: task[0])
        first, second = queue.take(), queue.take()
        assert (first, second) == ((0, "a"), (1, "c"))
        assert queue.take(0) == (0, "b") and queue.take(1) == (1, "d")
        assert len(queue) == 0
        with pytest.raises(IndexError, match="no task is left"):
            queue.take(0)

    def test_without_a_new_group_it_helps_with_the_longest(self) -> None:
        queue = TaskQueue([(0, 1), (1, 1), (1, 2), (1, 3)], group=lambda task: task[0])
        queue.take(), queue.take()
        assert queue.take(0) == (1, 2)

    def test_what_was_not_done_goes_first(self) -> None:
        queue = TaskQueue([(0, 1), (0, 2), (1, 1)], group=lambda task: task[0])
        lost = queue.take()
        queue.put_back(lost)
        assert len(queue) == 3 and queue.take() == lost

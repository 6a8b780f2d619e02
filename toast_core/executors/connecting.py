"""Reaching a Ray cluster, or starting one on this machine; in one line why it cannot be."""

import logging
import os
import socket

from toast_core.errors import ExecutorError
from toast_core.files import first_line

CONNECT_TIMEOUT_S = 5
# what every gRPC client says first, and an empty frame of settings; a gRPC server answers with its own settings
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS = 4


def prepare_environment(address: str | None) -> None:
    """Set what Ray reads when it is imported: it sends no usage figures, and soon gives up a cluster that does not answer.

    A new cluster on this machine, which may be busy, has Ray's own time to start.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address is not None:
        os.environ.setdefault("RAY_gcs_server_request_timeout_seconds", str(2 * CONNECT_TIMEOUT_S))


def check_address(address: str) -> None:
    """Raise an ExecutorError unless something that may be Ray's head answers at HOST:PORT within seconds."""
    host, _, port = address.rpartition(":")
    hint = "start one with ray start --head, or leave out the address to use this machine alone"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return
            connection.sendall(_HELLO)
            answer = connection.recv(9)
    except TimeoutError:
        raise ExecutorError(f"no Ray cluster answers at {address} within {CONNECT_TIMEOUT_S} s; {hint}") from None
    except OSError as error:
        raise ExecutorError(f"no Ray cluster can be reached at {address} ({error.strerror or error}); {hint}") from error
    if len(answer) < 4 or answer[3] != _SETTINGS:
        raise ExecutorError(f"what answers at {address} is no Ray cluster; {hint}")


def connect(address: str | None) -> None:
    """Connect this process to the cluster at HOST:PORT, or to a new one on this machine that ends with it.

    Raises:
        ExecutorError: it cannot be reached, is of another version, or this machine is no part of it.
    """
    import ray

    where = {"address": address} if address else {"address": "local", "include_dashboard": False}
    try:
        ray.init(**where, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except (Exception, SystemExit) as error:  # Ray leaves the process where it cannot find a cluster
        reason = first_line(error, 200)
        raise ExecutorError(
            f"Ray at {address or 'this machine'} cannot be used ({reason}); run toast on a machine of the cluster, with its Python and Ray"
        ) from error

"""Free ports, and one line for one that is not."""

import socket

import pytest

from cli.ports import FIRST_PORT, LAST_PORT, is_free, pick_free, require_free
from core.lifecycle import StartupError

HOST = "127.0.0.1"


def test_a_port_in_use_is_said_in_one_line_with_the_option_that_chooses_another() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(HOST, port)
        with pytest.raises(StartupError) as caught:
            require_free(HOST, port, use="the API", option="--api-port")
    assert str(caught.value) == (
        f"port {port} on {HOST}, for the API, cannot be used (Address already in use): end what uses it, or choose "
        "another with --api-port."
    )
    require_free(HOST, port, use="the API", option="--api-port")


def test_a_port_that_others_share_is_in_use() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind((HOST, 0))
        server.listen()
        assert not is_free(HOST, server.getsockname()[1])


def test_an_address_that_is_none_is_one_line() -> None:
    with pytest.raises(StartupError, match=r"no\.such\.host\.invalid is not an address of this machine"):
        require_free("no.such.host.invalid", 8000, use="the API", option="--api-port")


def test_the_last_port_is_used_again_while_it_is_free() -> None:
    port = pick_free(HOST)
    assert FIRST_PORT <= port < LAST_PORT
    assert pick_free(HOST, preferred=port) == port
    assert pick_free(HOST, preferred=port, taken=[port]) != port
    with socket.create_server((HOST, port)):
        assert pick_free(HOST, preferred=port) != port

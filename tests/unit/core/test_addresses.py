"""Whose address a request comes from: only what trusted proxies have written counts."""

import pytest

from core.addresses import client_address, is_trusted, limit_key, parse_networks

PROXIES = parse_networks(["10.0.0.0/8", "127.0.0.1", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        # What the client wrote itself stands to the left of what the proxy has appended.
        ("10.0.0.1", ["8.8.8.8, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["8.8.8.8", "198.51.100.1, 10.2.3.4"], "198.51.100.1"),
        ("127.0.0.1", ["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        ("10.0.0.1", ["evil, 10.2.3.4"], "10.2.3.4"),
        ("10.0.0.1", ["' OR true"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["2001:db8::5"], "2001:db8::5"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_the_client_is_the_last_one_that_no_trusted_proxy_is(
    peer: str, forwarded: list[str], expected: str
) -> None:
    assert client_address(peer, forwarded, PROXIES) == expected


def test_without_trusted_proxies_the_peer_is_the_client() -> None:
    assert client_address("127.0.0.1", ["198.51.100.1"], ()) == "127.0.0.1"
    assert not is_trusted("127.0.0.1", ())


def test_an_endless_list_is_read_only_so_far() -> None:
    assert client_address("10.0.0.1", [",".join(["10.0.0.2"] * 100_000)], PROXIES) == "10.0.0.2"


def test_limits_count_an_ipv6_network_as_one() -> None:
    assert limit_key("198.51.100.1") == "198.51.100.1"
    assert limit_key("2001:db8:1:2::1") == limit_key("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert limit_key("2001:db8:1:3::1") != limit_key("2001:db8:1:2::1")
    assert limit_key("") == ""


def test_limits_count_ipv4_clients_of_a_server_that_listens_on_ipv6_one_by_one() -> None:
    assert limit_key("::ffff:198.51.100.1") == limit_key("198.51.100.1")
    assert limit_key("::ffff:198.51.100.2") != limit_key("::ffff:198.51.100.1")


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        parse_networks(["proxy.example.com"])

"""`branchline up --tls-cert --tls-key`: https and wss, and nothing in the clear on these ports."""

import datetime
import ipaddress
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from core.lifecycle import StartupError
from core.tls import server_context
from tests.gateways import Socket
from tests.running_up import Up, branchline, home_folder
from tests.signing import pem_of
from tests.stack import DEMO_PASSWORD


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key = generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "branchline tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(Encoding.PEM))
    paths[1].write_text(pem_of(key))
    return paths


async def test_a_write_over_https_is_a_delta_over_wss(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(cert))
    options = (f"--tls-cert={cert}", f"--tls-key={key}")
    with home_folder() as home, Up(home, options=options) as up:
        ready = up.wait_ready()
        assert ready["api"].startswith("https://")
        assert ready["gateway"].startswith("wss://")
        async with httpx.AsyncClient(base_url=ready["api"], verify=trusting, timeout=30) as api:
            credentials = {"email": "ana@demo.test", "password": DEMO_PASSWORD}
            signed_in = await api.post("/api/auth/login", json=credentials)
            assert signed_in.headers["strict-transport-security"] == "max-age=31536000"
            token = signed_in.json()["access_token"]
            config = (await api.get("/api/client-config")).json()
            assert config["gateway_url"] == ready["gateway"]
            async with Socket.open(ready["gateway"], ssl=trusting) as socket:
                await socket.authenticate(token)
                await socket.subscribe("leads", "now")
                headers = {"authorization": f"Bearer {token}"}
                lead = (await api.post("/api/leads", headers=headers, json={"name": "Safe"})).json()
                delta = await socket.next("delta")
                assert [each["id"] for each in delta["changes"]] == [lead["id"]]
        # Who speaks in the clear there is not answered.
        async with httpx.AsyncClient(timeout=30) as plain:
            with pytest.raises(httpx.TransportError):
                await plain.get(ready["api"].replace("https", "http"))


def test_a_certificate_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    other = tmp_path / "other.pem"
    other.write_text(pem_of(Ed25519PrivateKey.generate()))
    for pair, expected in (
        ((str(cert), ""), "belong together"),
        ((str(cert), str(other)), "cannot be used"),
        ((str(tmp_path / "none.pem"), str(key)), "cannot be used"),
    ):
        with pytest.raises(StartupError, match=expected):
            server_context(*pair)
    with home_folder() as home:
        finished = branchline("up", f"--tls-cert={cert}", home=home)
    assert finished.returncode == 2
    assert "set both, or neither" in finished.stderr

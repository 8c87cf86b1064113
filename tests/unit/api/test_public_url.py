"""Where links in mail lead."""

from typing import Any

import pytest

from api.services import open_services
from core.lifecycle import StartupError
from core.settings import Settings


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "0.0.0.0"}, "http://127.0.0.1:8000"),
        ({"host": "::1"}, "http://[::1]:8000"),
        ({"tls_cert": "cert.pem", "tls_key": "key.pem"}, "https://127.0.0.1:8000"),
        ({"tls_cert": "cert.pem", "public_url": "https://crm.example"}, "https://crm.example"),
    ],
)
def test_a_link_leads_where_the_page_is_served(values: dict[str, Any], expected: str) -> None:
    assert Settings(**values, api_port=8000, _env_file=None).page_url == expected


async def test_production_sends_no_mail_whose_links_lead_to_the_servers_own_address() -> None:
    settings = Settings(
        env="production",
        signing_key="k" * 32,
        database_url="postgresql://127.0.0.1:1/b",
        redis_url="redis://127.0.0.1:1",
        mail_url="smtp://mail.example",
        public_url="",
        _env_file=None,
    )
    with pytest.raises(StartupError, match="BRANCHLINE_PUBLIC_URL is not set"):
        async with open_services(settings):
            pass

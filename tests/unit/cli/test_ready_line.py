"""What `branchline up` prints when everything runs."""

from cli.up import ready_line
from core.settings import Settings

OWNER, REDIS = "postgresql://owner:pw-of-owner@db:5432/crm", "rediss://:pw-of-redis@cache:6379/0"


def test_in_development_programs_take_up_the_passwords_and_in_production_nobody_sees_them() -> None:
    settings = Settings(owner_database_url=OWNER, redis_url=REDIS, api_port=8000, gateway_port=8001)
    shown = ready_line(settings)
    assert shown == (
        f"ready api=http://127.0.0.1:8000 gateway=ws://127.0.0.1:8001/ws database={OWNER} redis={REDIS}"
    )
    hidden = ready_line(settings.model_copy(update={"env": "production"}))
    assert "pw-of" not in hidden
    assert hidden == shown.replace("pw-of-owner", "[redacted]").replace("pw-of-redis", "[redacted]")

"""The application in this process, as the API's own tests have it."""

from tests.integration.api.conftest import ana, api, other, owner, settings, tenant

__all__ = ["ana", "api", "other", "owner", "settings", "tenant"]

"""How problems look in the OpenAPI document, for routes that FastAPI describes and for those made of the
catalogue.
"""

from typing import Any

from api.problems import CODES, MEDIA_TYPE

_DESCRIPTIONS = {
    400: "Malformed",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    409: "In conflict with what is there",
    410: "Too old",
    412: "The record has changed",
    413: "Too large",
    415: "Not JSON",
    422: "Values that cannot be accepted",
    429: "Too many",
    503: "Try again later",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation that can end in these statuses."""
    return {status: _response(status) for status in statuses}


def _response(status: int) -> dict[str, Any]:
    codes = ", ".join(f"`{name}`" for name, code in CODES.items() if code.status == status)
    return {
        "description": f"{_DESCRIPTIONS[status]}: {codes}",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }

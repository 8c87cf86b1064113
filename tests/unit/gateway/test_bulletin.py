"""Bulletins: what one gateway writes another one reads, of its own organisation only."""

import orjson
import pytest

from gateway.bulletin import (
    Ask,
    Bulletin,
    BulletinError,
    PassOn,
    Tell,
    channel_of_presence,
    decode_bulletin,
    encode_bulletin,
    organization_of_channel,
)
from gateway.roster import About, Entry, Person

PERSON = Person("c", "u", "Ana", None)
ABOUT = About("leads", "1", "name", is_lease=True)


@pytest.mark.parametrize(
    "bulletin",
    [
        Ask(),
        Tell([], [], "g"),
        Tell(
            [Entry("g", PERSON, "leads", {"record": "1"}, ABOUT), Entry("g", PERSON, "deals", {})],
            [("c", "*")],
        ),
        PassOn(PERSON, "leads", "wave", {"n": [1]}),
        PassOn(PERSON, "leads/1", "wave", None, ABOUT, only_if_found=False),
    ],
)
def test_a_bulletin_arrives_as_it_was_sent(bulletin: Bulletin) -> None:
    assert decode_bulletin(encode_bulletin("g", "o", bulletin), "o") == ("g", bulletin)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"{}",
        encode_bulletin("g", "another", Ask()),
        orjson.dumps({"v": 2, "gateway": "g", "organization_id": "o", "kind": "ask"}),
        orjson.dumps({"v": 1, "gateway": "g", "organization_id": "o", "kind": "shout"}),
        orjson.dumps(
            {"v": 1, "gateway": "g", "organization_id": "o", "kind": "tell", "put": [[1]], "drop": []}
        ),
    ],
)
def test_what_is_no_bulletin_of_the_channels_organisation_is_named_as_such(data: bytes) -> None:
    with pytest.raises(BulletinError, match="expected"):
        decode_bulletin(data, "o")


def test_an_organisations_channel_is_known_from_others() -> None:
    assert channel_of_presence("o") == "branchline:{o}:presence"
    assert organization_of_channel("branchline:{o}:presence") == "o"
    assert organization_of_channel("branchline:{o}") is None
    assert organization_of_channel("branchline:heartbeat:0") is None

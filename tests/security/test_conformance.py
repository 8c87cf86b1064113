"""RFC 6455, by the Autobahn suite's cases: the gateway's own shell with an echo behind it."""

from kosoku import FailureError, run_fuzzingclient

from tests.echo_server import CONFORMANCE, EchoConnection, run_echo

# 12 and 13 are about compression, which is not offered.
CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
NOT_STRICT = {"3.2", "3.3", "4.1.3", "4.1.4", "4.2.3", "4.2.4", "5.15", "6.4.1", "6.4.2", "6.4.3", "6.4.4"}
"""Cases in which a broken frame may be noticed a little later than at its first bad byte."""
WAIVED = {"7.1.5"}
"""A message that is cut by a close: the case expects an answer to what is no whole message any more."""


async def test_the_shell_keeps_to_the_protocol_in_every_case_but_those_that_are_waived_in_writing() -> None:
    async with run_echo(CONFORMANCE, 0, EchoConnection) as (_, port):
        try:
            results = await run_fuzzingclient(f"ws://127.0.0.1:{port}", cases=CASES, concurrency=4)
        except FailureError as error:
            results = error.results
    verdicts = {each.case_id: (each.behavior.value, each.behavior_close.value) for each in results}
    assert len(verdicts) == 301
    failed = {case for case, verdict in verdicts.items() if "FAILED" in verdict[0] or "ERROR" in verdict[0]}
    assert failed <= WAIVED
    assert {case for case, verdict in verdicts.items() if verdict[0] == "NON-STRICT"} <= NOT_STRICT
    closes = {case for case, verdict in verdicts.items() if verdict[1] not in ("OK", "INFORMATIONAL")}
    assert closes <= WAIVED
    assert all(verdict[0] != "UNIMPLEMENTED" for verdict in verdicts.values())

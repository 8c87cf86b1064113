"""Doctor's look at Redis."""

import asyncio
import secrets

from cli.connections import check_redis as reach_redis
from cli.connections import describe
from cli.findings import Finding, ok, problem
from core.lifecycle import StartupError

DELIVERY_SECONDS = 2.0


async def check_redis(url: str) -> list[Finding]:
    """Whether Redis can be reached, and whether what is published there arrives."""
    try:
        await reach_redis(url)
    except StartupError as error:
        return [problem("Redis cannot be used", str(error))]
    return [ok(f"Redis at {describe(url)}"), await _check_delivery(url)]


async def _check_delivery(url: str) -> Finding:
    import redis.asyncio as redis

    channel, sent = f"branchline:doctor:{secrets.token_hex(8)}", secrets.token_bytes(8)
    client = redis.Redis.from_url(url, socket_timeout=DELIVERY_SECONDS)
    try:
        async with asyncio.timeout(DELIVERY_SECONDS), client.pubsub() as listener:
            await listener.subscribe(channel)
            await client.publish(channel, sent)
            async for message in listener.listen():
                if message["type"] == "message" and message["data"] == sent:
                    return ok("Redis delivers what is published")
    except TimeoutError:
        pass
    except (redis.RedisError, OSError) as error:
        return problem(
            f"Redis refuses PUBLISH or SUBSCRIBE ({error})",
            "give the user the channels branchline:* (ACL `&branchline:* +publish +subscribe +ssubscribe "
            "+spublish`).",
        )
    finally:
        await client.aclose()
    return problem(
        f"Redis delivered nothing within {DELIVERY_SECONDS:.0f} s",
        "check that REDIS_URL names one server, or a cluster's node, and no proxy in between.",
    )

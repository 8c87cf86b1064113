"""A person who types without a connection: as a program, it prints the ids of what is kept, until it is killed."""

import asyncio
import sys

from branchline_client import connect


async def main(folder: str) -> None:
    async with connect("http://127.0.0.1:9", "no token yet", store=folder) as client:
        number = 0
        while True:
            write = client.insert("leads", {"name": f"typed {number}"})
            change = client.update("leads", write.id, {"score": number % 100})
            await write.local
            await change.local
            print(write.id, write.mutation_id, change.mutation_id, flush=True)
            number += 1


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

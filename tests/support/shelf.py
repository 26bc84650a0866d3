"""A world in which what was done can be undone."""

import asyncio

from tests.support.worlds import READ, World


class Shelf(World):
    """Things put on a shelf under numbers, and taken off again; `broken` names make the next call on them fail so."""

    def __init__(self):
        super().__init__()
        self.there = {}
        self.broken = {}
        self.stuck = asyncio.Event()

    def tools(self):
        return [
            self.tool("look", self.look, READ),
            self.tool("put", self.put, {"compensate": "take"}),
            self.tool("take", self.take, {"max_retries": 2, "idempotentHint": self.repeatable}),
            self.tool("tell", self.tell),
        ]

    repeatable = True

    async def put(self, name: str) -> dict:
        self.log.append(("put", name))
        self.fail(f"put {name}")
        number = len(self.log)
        self.there[number] = name
        return {"number": number}

    async def take(self, number: int, name: str) -> str:
        self.log.append(("take", name))
        self.fail(f"take {name}")
        assert self.there.pop(number) == name
        return "taken"

    async def tell(self, text: str) -> str:
        self.log.append(("tell", text))
        self.fail(f"tell {text}")
        return text

    def fail(self, what):
        if self.broken.get(what):
            raise self.broken[what].pop(0)

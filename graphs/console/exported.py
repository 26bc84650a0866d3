"""`show --prov` and `show --xml`: a thread for other programs."""

import asyncio

from langgraph.types import StateSnapshot
from pydantic_core import to_jsonable_python

from agent.core.prov import prov_json
from agent.core.xml_form import as_xml
from agent.settings import Settings
from graphs.console.manner import Manner
from graphs.console.report import in_full, outcomes_of, run_record
from graphs.console.runs import thread_state
from graphs.console.screen import print_json
from graphs.lineage import provenance_of
from graphs.persistence import open_persistence


def export_thread(thread: str, *, settings: Settings, manner: Manner, form: str) -> int:
    """Print where each result of a thread came from (`prov`, as PROV-JSON) or its record (`xml`); return 0.

    Raises `UsageError` for a thread that is not there.
    """
    state = asyncio.run(_state(thread, settings=settings, manner=manner))
    if form == "prov":
        print_json(prov_json(provenance_of(state.values, outcomes_of(state)), thread=thread))
    else:
        manner.screen.console.out(as_xml(to_jsonable_python(run_record(state, thread=thread))), highlight=False)
    return 0


async def _state(thread: str, *, settings: Settings, manner: Manner) -> StateSnapshot:
    async with open_persistence(manner.database(settings)) as stored:
        return await in_full(await thread_state(thread, stored=stored), stored.artifacts, thread=thread)

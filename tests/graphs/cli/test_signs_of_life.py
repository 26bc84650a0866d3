"""What somebody sees who waits for a slow model: a sign at least every 3 s, in a pipe and at a terminal."""

import re
import time

from tests.support.command_line import CommandLine
from tests.support.openai_endpoint import Endpoint, Request, Scripted, Text

NOTEBOOK = "-- customers: how many there are\nSELECT COUNT(*) AS customers FROM customers;\n" + "-- and so on\n" * 5
#: Seconds between two chunks of eight characters: the reply takes about 12 s.
CHUNK_S = 0.55
WAIT_S = 3.0


def answer(_request: Request) -> Scripted:
    return Text(NOTEBOOK)


def words(*more: str) -> list[str]:
    return ["run", "How many customers are there?", "--model", "openai:scripted", *more]


def slow(command: CommandLine, endpoint: Endpoint) -> None:
    command.env |= {**endpoint.env, "PLANWAVE_MODEL_SCALE": "small", "PLANWAVE_PLAN_VARIANTS": "2"}


def test_in_a_pipe_a_line_comes_at_least_every_three_seconds(planwave: CommandLine) -> None:
    with Endpoint(answer, chunk_s=CHUNK_S) as endpoint:
        slow(planwave, endpoint)
        process = planwave.apart(*words())
        assert process.stdout is not None
        lines: list[tuple[float, str]] = []
        for line in process.stdout:
            lines.append((time.monotonic(), line.strip()))
            if line.startswith("plan, revision"):
                break
        process.kill()
        process.communicate()
    planning = [(at, line) for at, line in lines if line.startswith(("planner:", "plan,"))]
    signs = [line for _, line in planning if line.endswith("so far")]
    took = planning[-1][0] - planning[0][0]
    # The rate and not the longest wait, which a busy machine may stretch.
    assert len(planning) >= took / WAIT_S > 4, planning
    form = re.compile(r"planner: (variant [12] of at most 2, (\d+ tokens written, )?)?.*so far")
    assert all(map(form.fullmatch, signs)), signs
    counts = [int(found[1]) for each in signs if (found := re.search(r"variant 1 .* (\d+) tokens", each))]
    assert len(set(counts)) > 1, signs
    assert counts == sorted(counts)


def test_at_a_terminal_the_line_says_how_far_it_is(planwave: CommandLine) -> None:
    with Endpoint(answer, chunk_s=CHUNK_S) as endpoint:
        slow(planwave, endpoint)
        terminal = planwave.at_terminal(*words(), columns=200)
        terminal.until("variant 1 of at most 2, ")
        terminal.until("tokens written")
        terminal.until("variant 2 of at most 2, ")
        terminal.process.kill()
        terminal.end()

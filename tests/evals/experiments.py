"""The same cases as a LangSmith experiment: a dataset for each set, a run for each case, its figures as feedback."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from langsmith import Client, aevaluate
from langsmith.schemas import Example, Run

from tests.evals.cases import Case, half
from tests.evals.records import Key, Line

_FIGURES = ("calls", "tokens", "seconds")


def dataset_name(set_name: str) -> str:
    """Return what a set's dataset is called."""
    return f"planwave-evals-{set_name}"


def ensure_dataset(client: Client, set_name: str, cases: Sequence[Case]) -> dict[str, Example]:
    """Return the dataset's examples by case id; those that are missing are made, under ids of their own for ever."""
    name = dataset_name(set_name)
    if not client.has_dataset(dataset_name=name):
        client.create_dataset(name, description=f"The goals of the set {set_name!r} of Planwave's evaluations.")
    known = {str(example.id) for example in client.list_examples(dataset_name=name)}
    missing = [
        {
            "id": example_id,
            "inputs": {"id": case.id, "goal": case.goal},
            "metadata": {"half": half(case.id)},
            "split": half(case.id),
        }
        for case in cases
        if (example_id := str(uuid5(NAMESPACE_URL, f"{name}/{case.id}"))) not in known
    ]
    if missing:
        client.create_examples(dataset_name=name, examples=missing)
    wanted = {case.id for case in cases}
    found = client.list_examples(dataset_name=name)
    return {each.inputs["id"]: each for each in found if each.inputs and each.inputs["id"] in wanted}


async def run_experiment(
    cases: Sequence[Case], *, key: Key, run: Callable[[Case], Awaitable[Line]], client: Client
) -> str:
    """Run `cases` one after the other as an experiment and return its name."""
    examples = ensure_dataset(client, key.set, cases)
    by_id = {case.id: case for case in cases}

    async def target(inputs: dict[str, Any]) -> dict[str, Any]:
        line = await run(by_id[inputs["id"]])
        figures = {name: getattr(line, name) for name in _FIGURES}
        return {
            "outcome": line.outcome,
            "why": line.why,
            "right": line.right,
            "scores": dict(line.scores),
            "figures": figures,
            "plan": list(line.plan),
        }

    results = await aevaluate(
        target,
        data=[examples[case.id] for case in cases if case.id in examples],
        evaluators=[_feedback],
        experiment_prefix=" ".join(filter(None, (key.set, key.strategy, key.model, key.tag))),
        metadata={"strategy": key.strategy, "model": key.model, "code": key.code, "tag": key.tag},
        max_concurrency=1,
        client=client,
    )
    return str(results.experiment_name)


def _feedback(run: Run, example: Example) -> dict[str, Any]:
    """Return a case's figures as LangSmith takes them; a run that failed has none."""
    outputs = run.outputs or {}
    if "right" not in outputs:
        return {"results": [{"key": "right", "score": 0, "comment": run.error or "no output"}]}
    figures = {"right": float(outputs["right"]), **outputs["scores"], **outputs["figures"]}
    return {"results": [{"key": name, "score": value} for name, value in figures.items()]}

"""Provenance in the W3C's words: PROV-DM as PROV-JSON.

https://www.w3.org/TR/prov-dm/ and https://www.w3.org/submissions/prov-json/. Goal, plans, results and answer are
entities; planning and each call are activities; models, tools and persons are agents.
"""

from collections import defaultdict
from urllib.parse import quote

from pydantic import JsonValue

from agent.core.engine.outcomes import Done, Failed, Rejected
from agent.core.plan.hashing import canonical, digest
from agent.core.provenance.lineage import Origin, Provenance, Version

_PREFIXES: dict[str, JsonValue] = {"pw": "urn:planwave:", "prov": "http://www.w3.org/ns/prov#"}
#: Characters of a value that is written out.
_LONGEST = 2**16
Attributes = dict[str, JsonValue]


def prov_json(provenance: Provenance, *, thread: str) -> dict[str, JsonValue]:
    """Return a PROV-JSON document of a run.

    A result of at most 65,536 characters stands there by its value as JSON text, a longer one by that text's digest.
    """
    return _Document(thread).of(provenance)


class _Document:
    def __init__(self, thread: str) -> None:
        self._thread = thread
        self._parts: defaultdict[str, dict[str, Attributes]] = defaultdict(dict)

    def of(self, provenance: Provenance) -> dict[str, JsonValue]:
        goal = self._add("entity", "goal", {"prov:type": "pw:Goal", "prov:value": provenance.goal})
        previous: str | None = None
        for number, version in enumerate(provenance.versions, start=1):
            previous = self._version(version, number=str(number), goal=goal, previous=previous)
        for task in provenance:
            self._result(provenance.origin(task))
        if provenance.answer:
            self._answer(provenance)
        return {"prefix": dict(_PREFIXES), **{kind: dict(found) for kind, found in self._parts.items()}}

    def _version(self, version: Version, *, number: str, goal: str, previous: str | None) -> str:
        tasks = version.plan.model_dump(mode="json")
        plan = self._add(
            "entity",
            self._local("plan", number),
            {"prov:type": "prov:Plan", "pw:revision": version.revision, "pw:sha256": digest(tasks)},
        )
        at: Attributes = {"prov:endTime": version.at} if version.at else {}
        tokens: Attributes = {f"pw:{name}": count for name, count in (version.usage or {}).items()}
        making = self._add("activity", self._local("planning", number), {**at, **tokens})
        agent = self._agent(version.model) if version.model else self._person(version)
        self._relate("wasGeneratedBy", {"prov:entity": plan, "prov:activity": making})
        self._relate("used", {"prov:activity": making, "prov:entity": goal})
        self._relate("wasAssociatedWith", {"prov:activity": making, "prov:agent": agent})
        if previous is not None:
            change = {"prov:generatedEntity": plan, "prov:usedEntity": previous, "prov:type": "prov:Revision"}
            self._relate("wasDerivedFrom", {**change, "prov:activity": making})
        return plan

    def _result(self, origin: Origin) -> None:
        outcome = origin.outcome
        result = self._add("entity", self._local("result", origin.task), _described(origin))
        if isinstance(outcome, Done) and outcome.reused_from is not None:
            source = self._name("result", outcome.reused_from)
            self._relate("wasDerivedFrom", {"prov:generatedEntity": result, "prov:usedEntity": source})
            return
        if isinstance(outcome, Rejected) or (isinstance(outcome, Done) and outcome.answered_by_person):
            self._relate("wasAttributedTo", {"prov:entity": result, "prov:agent": self._somebody()})
            return
        finished = outcome.cached_at or outcome.finished_at if isinstance(outcome, Done) else outcome.finished_at
        times = {"prov:startTime": outcome.started_at, "prov:endTime": finished}
        told = {"pw:attempts": outcome.attempts, **_arguments(origin)}
        if isinstance(outcome, Done | Failed) and outcome.items is not None:
            told["pw:failedItems"] = canonical(list(outcome.items.failed))
        call = self._add(
            "activity", self._local("call", origin.task), {**{k: v for k, v in times.items() if v is not None}, **told}
        )
        at: Attributes = {"prov:time": finished} if finished else {}
        self._relate("wasGeneratedBy", {"prov:entity": result, "prov:activity": call, **at})
        if origin.tool is not None:
            by: Attributes = {"prov:activity": call, "prov:agent": self._agent(origin.tool, kind="tool")}
            self._relate("wasAssociatedWith", {**by, "prov:plan": self._name("plan", str(origin.number))})
        for each in origin.inputs:
            source = self._name("result", each.task)
            role: Attributes = {"prov:role": f"pw:{each.way}", "pw:path": canonical(list(each.path))}
            self._relate("used", {"prov:activity": call, "prov:entity": source, **role})
            if each.way in {"argument", "item"}:
                change = {"prov:generatedEntity": result, "prov:usedEntity": source}
                self._relate("wasDerivedFrom", {**change, "prov:activity": call})

    def _answer(self, provenance: Provenance) -> None:
        for number, statement in enumerate(provenance.statements(), start=1):
            said: Attributes = {"prov:type": "pw:Statement", "prov:value": statement.text}
            entity = self._add("entity", self._local("statement", str(number)), said)
            for task in statement.tasks:
                source = self._name("result", task)
                self._relate("wasDerivedFrom", {"prov:generatedEntity": entity, "prov:usedEntity": source})

    def _agent(self, name: str, *, kind: str = "model") -> str:
        return self._add("agent", self._local(kind, name), {"prov:type": "prov:SoftwareAgent", "prov:label": name})

    def _person(self, version: Version) -> str:
        return self._agent("rollback", kind="part") if version.author == "rollback" else self._somebody()

    def _somebody(self) -> str:
        return self._add("agent", "person", {"prov:type": "prov:Person"})

    def _add(self, kind: str, local: str, attributes: Attributes) -> str:
        name = f"pw:{quote(self._thread, safe='')}/{local}"
        self._parts[kind][name] = {key: _typed(key, value) for key, value in attributes.items()}
        return name

    def _relate(self, kind: str, attributes: Attributes) -> None:
        found = self._parts[kind]
        found[f"_:{kind}{len(found) + 1}"] = {key: _typed(key, value) for key, value in attributes.items()}

    def _name(self, kind: str, rest: str) -> str:
        return f"pw:{quote(self._thread, safe='')}/{self._local(kind, rest)}"

    @staticmethod
    def _local(kind: str, rest: str) -> str:
        return f"{kind}/{quote(rest, safe='')}"


def _typed(key: str, value: JsonValue) -> JsonValue:
    """Return a name of the vocabulary as one; a text that only looks like a name stays a text."""
    if key in {"prov:type", "prov:role"}:
        return {"$": value, "type": "prov:QUALIFIED_NAME"}
    return value


def _described(origin: Origin) -> Attributes:
    outcome = origin.outcome
    told: Attributes = {"prov:type": "pw:Result", "pw:task": origin.task, "pw:status": outcome.status}
    told["pw:revision"] = outcome.revision
    if isinstance(outcome, Done) and outcome.artifact is not None and outcome.away:
        return {**told, "pw:sha256": outcome.artifact.digest, "pw:length": outcome.artifact.size}
    if isinstance(outcome, Done):
        text = canonical(outcome.output)
        short = len(text) <= _LONGEST
        return {
            **told,
            **({"prov:value": text} if short else {"pw:sha256": digest(outcome.output), "pw:length": len(text)}),
        }
    return {**told, **({"pw:error": outcome.error} if outcome.error else {})}


def _arguments(origin: Origin) -> Attributes:
    if origin.calls is None or origin.version is None:
        return {}
    definition = origin.version.plan.task(origin.task)
    if definition.for_each is None:
        return {"pw:arguments": canonical(origin.calls[0])}
    return {"pw:arguments": canonical(definition.args), "pw:items": len(origin.calls)}

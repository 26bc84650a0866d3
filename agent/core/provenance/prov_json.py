"""Exports provenance as PROV-JSON, a format of the W3C's PROV data model.

https://www.w3.org/TR/prov-dm/ and https://www.w3.org/submissions/prov-json/. Goal, plans, results and answer are
entities; planning and each call are activities; models, tools and humans are agents.
"""

from collections import defaultdict
from urllib.parse import quote

from pydantic import JsonValue

from agent.core.engine.outcomes import Done, Failed, Rejected
from agent.core.plan.hashing import hash_json, to_canonical_json
from agent.core.provenance.lineage import PlanVersion, Provenance, ResultOrigin

_PREFIXES: dict[str, JsonValue] = {"pw": "urn:planwave:", "prov": "http://www.w3.org/ns/prov#"}
#: Length of the longest value that is written out, in characters of JSON text.
_MAX_VALUE_LENGTH = 2**16
Attributes = dict[str, JsonValue]


def to_prov_json(provenance: Provenance, *, thread: str) -> dict[str, JsonValue]:
    """Return the PROV-JSON document of a run; `thread` is part of every identifier in it.

    A result of at most 65,536 characters of JSON text is written out, a longer one as the digest of that text.
    """
    return _ProvDocument(thread).build(provenance)


class _ProvDocument:
    def __init__(self, thread: str) -> None:
        self._thread = thread
        self._parts: defaultdict[str, dict[str, Attributes]] = defaultdict(dict)

    def build(self, provenance: Provenance) -> dict[str, JsonValue]:
        goal = self._add_element("entity", "goal", {"prov:type": "pw:Goal", "prov:value": provenance.goal})
        previous: str | None = None
        for number, version in enumerate(provenance.versions, start=1):
            previous = self._add_plan(version, number=str(number), goal=goal, previous=previous)
        for task in provenance:
            self._add_result(provenance.get_origin(task))
        if provenance.answer:
            self._add_answer(provenance)
        return {"prefix": dict(_PREFIXES), **{kind: dict(found) for kind, found in self._parts.items()}}

    def _add_plan(self, version: PlanVersion, *, number: str, goal: str, previous: str | None) -> str:
        tasks = version.plan.model_dump(mode="json")
        plan = self._add_element(
            "entity",
            self._build_local_name("plan", number),
            {"prov:type": "prov:Plan", "pw:revision": version.revision, "pw:sha256": hash_json(tasks)},
        )
        at: Attributes = {"prov:endTime": version.at} if version.at else {}
        tokens: Attributes = {f"pw:{name}": count for name, count in (version.usage or {}).items()}
        planning = self._add_element("activity", self._build_local_name("planning", number), {**at, **tokens})
        agent = self._add_agent(version.model) if version.model else self._add_author(version)
        self._add_relation("wasGeneratedBy", {"prov:entity": plan, "prov:activity": planning})
        self._add_relation("used", {"prov:activity": planning, "prov:entity": goal})
        self._add_relation("wasAssociatedWith", {"prov:activity": planning, "prov:agent": agent})
        if previous is not None:
            change = {"prov:generatedEntity": plan, "prov:usedEntity": previous, "prov:type": "prov:Revision"}
            self._add_relation("wasDerivedFrom", {**change, "prov:activity": planning})
        return plan

    def _add_result(self, origin: ResultOrigin) -> None:
        outcome = origin.outcome
        result = self._add_element("entity", self._build_local_name("result", origin.task), _describe_result(origin))
        if isinstance(outcome, Done) and outcome.reused_from is not None:
            source = self._build_identifier("result", outcome.reused_from)
            self._add_relation("wasDerivedFrom", {"prov:generatedEntity": result, "prov:usedEntity": source})
            return
        if isinstance(outcome, Rejected) or (isinstance(outcome, Done) and outcome.answered_by_person):
            self._add_relation("wasAttributedTo", {"prov:entity": result, "prov:agent": self._add_person()})
            return
        finished = outcome.cached_at or outcome.finished_at if isinstance(outcome, Done) else outcome.finished_at
        times = {"prov:startTime": outcome.started_at, "prov:endTime": finished}
        details = {"pw:attempts": outcome.attempts, **_describe_arguments(origin)}
        if isinstance(outcome, Done | Failed) and outcome.items is not None:
            details["pw:failedItems"] = to_canonical_json(list(outcome.items.failed))
        call = self._add_element(
            "activity",
            self._build_local_name("call", origin.task),
            {**{name: time for name, time in times.items() if time is not None}, **details},
        )
        at: Attributes = {"prov:time": finished} if finished else {}
        self._add_relation("wasGeneratedBy", {"prov:entity": result, "prov:activity": call, **at})
        if origin.tool is not None:
            by: Attributes = {"prov:activity": call, "prov:agent": self._add_agent(origin.tool, kind="tool")}
            self._add_relation(
                "wasAssociatedWith", {**by, "prov:plan": self._build_identifier("plan", str(origin.number))}
            )
        for each in origin.inputs:
            source = self._build_identifier("result", each.task)
            role: Attributes = {"prov:role": f"pw:{each.way}", "pw:path": to_canonical_json(list(each.path))}
            self._add_relation("used", {"prov:activity": call, "prov:entity": source, **role})
            if each.way in {"argument", "item"}:
                change = {"prov:generatedEntity": result, "prov:usedEntity": source}
                self._add_relation("wasDerivedFrom", {**change, "prov:activity": call})

    def _add_answer(self, provenance: Provenance) -> None:
        for number, statement in enumerate(provenance.split_answer(), start=1):
            attributes: Attributes = {"prov:type": "pw:Statement", "prov:value": statement.text}
            entity = self._add_element("entity", self._build_local_name("statement", str(number)), attributes)
            for task in statement.tasks:
                source = self._build_identifier("result", task)
                self._add_relation("wasDerivedFrom", {"prov:generatedEntity": entity, "prov:usedEntity": source})

    def _add_agent(self, name: str, *, kind: str = "model") -> str:
        return self._add_element(
            "agent", self._build_local_name(kind, name), {"prov:type": "prov:SoftwareAgent", "prov:label": name}
        )

    def _add_author(self, version: PlanVersion) -> str:
        return self._add_agent("rollback", kind="part") if version.author == "rollback" else self._add_person()

    def _add_person(self) -> str:
        return self._add_element("agent", "person", {"prov:type": "prov:Person"})

    def _add_element(self, kind: str, local: str, attributes: Attributes) -> str:
        name = f"pw:{quote(self._thread, safe='')}/{local}"
        self._parts[kind][name] = {key: _to_prov_value(key, value) for key, value in attributes.items()}
        return name

    def _add_relation(self, kind: str, attributes: Attributes) -> None:
        found = self._parts[kind]
        found[f"_:{kind}{len(found) + 1}"] = {key: _to_prov_value(key, value) for key, value in attributes.items()}

    def _build_identifier(self, kind: str, rest: str) -> str:
        return f"pw:{quote(self._thread, safe='')}/{self._build_local_name(kind, rest)}"

    @staticmethod
    def _build_local_name(kind: str, rest: str) -> str:
        return f"{kind}/{quote(rest, safe='')}"


def _to_prov_value(key: str, value: JsonValue) -> JsonValue:
    """Return the value of a type or role as a qualified name; any other text stays a text, whatever it looks like."""
    if key in {"prov:type", "prov:role"}:
        return {"$": value, "type": "prov:QUALIFIED_NAME"}
    return value


def _describe_result(origin: ResultOrigin) -> Attributes:
    outcome = origin.outcome
    attributes: Attributes = {"prov:type": "pw:Result", "pw:task": origin.task, "pw:status": outcome.status}
    attributes["pw:revision"] = outcome.revision
    if isinstance(outcome, Done) and outcome.artifact is not None and outcome.is_offloaded:
        return {**attributes, "pw:sha256": outcome.artifact.digest, "pw:length": outcome.artifact.size}
    if isinstance(outcome, Done):
        text = to_canonical_json(outcome.output)
        is_short = len(text) <= _MAX_VALUE_LENGTH
        return {
            **attributes,
            **({"prov:value": text} if is_short else {"pw:sha256": hash_json(outcome.output), "pw:length": len(text)}),
        }
    return {**attributes, **({"pw:error": outcome.error} if outcome.error else {})}


def _describe_arguments(origin: ResultOrigin) -> Attributes:
    if origin.calls is None or origin.version is None:
        return {}
    definition = origin.version.plan.get_task(origin.task)
    if definition.for_each is None:
        return {"pw:arguments": to_canonical_json(origin.calls[0])}
    return {"pw:arguments": to_canonical_json(definition.args), "pw:items": len(origin.calls)}

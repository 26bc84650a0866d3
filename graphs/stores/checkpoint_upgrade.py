"""Checkpoints of earlier releases, read under the present names of the state's fields.

Every checkpoint that this graph reads passes `upgrade_checkpoint`, and every one that it stores `complete_upgrade`.
What is stored already stays as it is; a thread that is resumed is stored under the present names from then on.
"""

import copy
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

from graphs.langgraph_internals import CONFIG_KEY_CHECKPOINTER, patch_configurable

V = TypeVar("V")
S = TypeVar("S", bound=BaseCheckpointSaver[Any])

#: Fields of the state by their former name.
FIELD_NAMES: Final[Mapping[str, str]] = {
    "accepted": "partial_result_accepted",
    "anew": "replan_requested",
    "cleared": "resolved_doubts",
    "compiled": "checked_plan_digest",
    "context": "planning_context",
    "cut": "out_of_budget_tasks",
    "difference": "plan_changes",
    "dispatch": "dispatch_id",
    "doubts": "calls_in_doubt",
    "ended": "budget_ended_tasks",
    "failed": "target_tasks",
    "given": "plan_was_given",
    "history": "replan_history",
    "impasse": "escalation",
    "impasses": "escalation_count",
    "lineage": "plan_history",
    "pending": "pending_approvals",
    "question": "clarification_question",
    "questions": "clarification_count",
    "raised": "raised_budgets",
    "rejected": "rejected_calls",
    "replanned": "replanned_failures",
    "run": "run_id",
    "stop": "termination",
    "stuck": "dead_end_reason",
    "undo": "rollback_plan",
    "waived": "waived_tasks",
    "wanted": "context_requests",
    "written_by": "plan_author",
}
#: Every run has written this channel by its first step; the checkpoints of other graphs, such as one that a tool runs,
#: have not, and their fields are their own.
_OWN_CHANNEL: Final = "branch:to:gather_context"
#: Lists, among the versions seen, the channels whose values are stored under an old name. LangGraph copies what it
#: finds there to the next checkpoint, and keeps marks of its own in the same way.
_RENAMED_MARK: Final = "__planwave_renamed__"


def upgrade_checkpoint(saved: CheckpointTuple) -> CheckpointTuple:
    """Return `saved` with the present names of the state's fields, in values, versions and pending writes."""
    checkpoint, versions = saved.checkpoint, saved.checkpoint["channel_versions"]
    if _OWN_CHANNEL not in versions:
        return saved
    renamed = {name: versions[old] for old, name in FIELD_NAMES.items() if old in versions and name not in versions}
    writes = saved.pending_writes or []
    if not renamed and not any(channel in FIELD_NAMES for _, channel, _ in writes):
        return saved
    upgraded: dict[str, Any] = {
        **checkpoint,
        "channel_values": _rename_keys(checkpoint["channel_values"]),
        "channel_versions": _rename_keys(versions),
        "versions_seen": {
            **{node: _rename_keys(seen) for node, seen in checkpoint["versions_seen"].items()},
            **({_RENAMED_MARK: renamed} if renamed else {}),
        },
    }
    if checkpoint.get("updated_channels"):
        upgraded["updated_channels"] = _rename(checkpoint["updated_channels"] or ())
    return saved._replace(
        checkpoint=cast("Checkpoint", upgraded),
        pending_writes=[(task, FIELD_NAMES.get(channel, channel), value) for task, channel, value in writes],
    )


def complete_upgrade(checkpoint: Checkpoint, new_versions: ChannelVersions) -> tuple[Checkpoint, ChannelVersions]:
    """Return what is to be stored of a checkpoint whose predecessor was upgraded, and which of its values are new.

    Some savers store a value once, by its channel and version; those that were stored under an old name are stored
    again under the new one.
    """
    renamed = checkpoint["versions_seen"].get(_RENAMED_MARK)
    if renamed is None:
        return checkpoint, new_versions
    seen = {node: versions for node, versions in checkpoint["versions_seen"].items() if node != _RENAMED_MARK}
    current = checkpoint["channel_versions"]
    again = {name: version for name, version in renamed.items() if current.get(name) == version}
    return {**checkpoint, "versions_seen": seen}, {**again, **new_versions}


def upgrade_on_read(saver: S) -> S:
    """Return a clone of `saver` over the same storage whose checkpoints pass this module's door."""
    if isinstance(saver, _UpgradesOnRead):
        return saver
    clone = copy.copy(saver)
    clone.__class__ = type(type(saver).__name__, (_UpgradesOnRead, type(saver)), {})
    return clone


def upgrade_saver_of(config: RunnableConfig) -> RunnableConfig:
    """Return `config` with the saver that a server or a parent graph put into it, if any, behind the same door."""
    saver = config.get("configurable", {}).get(CONFIG_KEY_CHECKPOINTER)
    if not isinstance(saver, BaseCheckpointSaver):
        return config
    return patch_configurable(config, {CONFIG_KEY_CHECKPOINTER: upgrade_on_read(saver)})


class _UpgradesOnRead(BaseCheckpointSaver[Any]):
    """The part of a saver's class that `upgrade_on_read` adds. Reading twice through it changes nothing more."""

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        saved = super().get_tuple(config)
        return upgrade_checkpoint(saved) if saved else None

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        saved = await super().aget_tuple(config)
        return upgrade_checkpoint(saved) if saved else None

    def list(self, config: RunnableConfig | None, **options: Any) -> Iterator[CheckpointTuple]:  # noqa: ANN401 - LangGraph's
        return map(upgrade_checkpoint, super().list(config, **options))

    async def alist(self, config: RunnableConfig | None, **options: Any) -> AsyncIterator[CheckpointTuple]:  # noqa: ANN401
        async for saved in super().alist(config, **options):
            yield upgrade_checkpoint(saved)

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        checkpoint, new_versions = complete_upgrade(checkpoint, new_versions)
        return super().put(config, checkpoint, metadata, new_versions)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        checkpoint, new_versions = complete_upgrade(checkpoint, new_versions)
        return await super().aput(config, checkpoint, metadata, new_versions)


def _rename_keys(values: Mapping[str, V]) -> dict[str, V]:
    """Return `values` by present names; of a field under both names, the present one stays."""
    renamed = {FIELD_NAMES[name]: value for name, value in values.items() if name in FIELD_NAMES}
    return renamed | {name: value for name, value in values.items() if name not in FIELD_NAMES}


def _rename(names: Iterable[str]) -> list[str]:
    return sorted({FIELD_NAMES.get(name, name) for name in names})

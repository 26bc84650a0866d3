"""The artifacts of threads in SQL; writes pass the fence of the leases."""

from collections.abc import Collection

from langgraph.checkpoint.serde.base import SerializerProtocol

from agent.execution.ledger import split_scope
from graphs.stores.database import BlockingRunner, StatementRunner, StoreDatabase
from graphs.stores.tables.leases import LeaseManager


class SqlArtifacts:
    """Implements `agent.results.artifacts.ArtifactStore`; texts are serialized as checkpoints are.

    Each thread has its own rows. Equal outputs of two threads are stored twice, so that deleting a thread concerns no
    other one. The runs on a thread share its rows: a text is found by its digest, whichever run stored it.
    """

    def __init__(
        self, database: StoreDatabase, *, leases: LeaseManager, serde: SerializerProtocol, run_on_worker: BlockingRunner
    ) -> None:
        self._database = database
        self._leases = leases
        self._serde = serde
        self._run_on_worker = run_on_worker

    async def put(self, thread: str, digest: str, text: bytes) -> None:
        """See `ArtifactStore.put`."""
        tag, data = self._serde.dumps_typed(text)
        thread, _ = split_scope(thread)

        def insert_artifact(run: StatementRunner) -> None:
            self._leases.check_fence(run, thread)
            # Replaced, because the existing row may be encrypted with another key.
            run(
                "INSERT INTO planwave_artifacts (thread, digest, size, value_type, value) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (thread, digest) DO UPDATE SET value_type = excluded.value_type, value = excluded.value",
                thread,
                digest,
                len(text),
                tag,
                data,
            )

        await self._run_on_worker(self._database.run_in_transaction, insert_artifact)

    async def get(self, thread: str, digests: Collection[str]) -> dict[str, bytes]:
        """See `ArtifactStore.get`. Raises `PersistenceError` if a text cannot be read."""
        thread, _ = split_scope(thread)

        def select_artifacts(run: StatementRunner) -> dict[str, bytes]:
            texts = {}
            for digest in sorted(digests):
                rows = run(
                    "SELECT value_type, value FROM planwave_artifacts WHERE thread = ? AND digest = ?", thread, digest
                )
                for tag, data in rows:
                    texts[digest] = bytes(self._serde.loads_typed((tag, bytes(data))))
            return texts

        return await self._run_on_worker(self._database.run_in_transaction, select_artifacts)


def delete_artifact_rows(run: StatementRunner, thread: str) -> None:
    """Delete the artifacts of a thread within a transaction."""
    run("DELETE FROM planwave_artifacts WHERE thread = ?", thread)

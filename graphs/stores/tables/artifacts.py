"""The artifacts of threads in SQL, behind the fence of the leases."""

from collections.abc import Collection

from langgraph.checkpoint.serde.base import SerializerProtocol

from graphs.stores.database import BlockingRunner, StatementRunner, StoreDatabase
from graphs.stores.tables.leases import LeaseManager


class SqlArtifacts:
    """Keeps the contract of `agent.artifacts.ArtifactStore`; texts go through the serializer of checkpoints.

    Each thread has rows of its own. Equal outputs of two threads are stored twice, and deleting a thread needs to look
    at no other.
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

        def insert_artifact(run: StatementRunner) -> None:
            self._leases.check_fence(run, thread)
            # Replaced, since what is there may have been stored with another key.
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
        """See `ArtifactStore.get`. Raises `PersistenceError` for what cannot be read."""

        def select_artifacts(run: StatementRunner) -> dict[str, bytes]:
            found = {}
            for digest in sorted(digests):
                rows = run(
                    "SELECT value_type, value FROM planwave_artifacts WHERE thread = ? AND digest = ?", thread, digest
                )
                for tag, data in rows:
                    found[digest] = bytes(self._serde.loads_typed((tag, bytes(data))))
            return found

        return await self._run_on_worker(self._database.run_in_transaction, select_artifacts)


def delete_artifact_rows(run: StatementRunner, thread: str) -> None:
    """Delete the artifacts of a thread within a transaction."""
    run("DELETE FROM planwave_artifacts WHERE thread = ?", thread)

// A list of threads that wait, which reads and sends what Agent Inbox does (https://github.com/langchain-ai/agent-inbox,
// f38301b): `contexts/ThreadContext.tsx`, `contexts/utils.ts`, `hooks/use-interrupted-actions.tsx`. The look is our own.
import { Client } from "@langchain/langgraph-sdk";
import { marked } from "marked";
import React, { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const query = new URLSearchParams(location.search);
const graph = query.get("assistantId") ?? "planwave";
const client = new Client({ apiUrl: query.get("apiUrl") });
const toField = (value) => (typeof value === "string" ? value : JSON.stringify(value));

// What it makes of the first interrupt of a thread: the first call of the request.
function readRequest(value) {
  const first = value?.action_requests?.[0];
  if (!first) return null;
  const allowed = value.review_configs?.[0]?.allowed_decisions ?? [];
  return {
    action: first.name ?? "",
    args: first.arguments ?? {},
    description: first.description,
    accept: allowed.includes("approve"),
    edit: allowed.includes("edit"),
    respond: allowed.includes("reject"),
  };
}

// The newest first, as it sorts them; one whose interrupts it cannot read is marked.
async function listThreads() {
  const found = await client.threads.search({ offset: 0, limit: 10, status: "interrupted", metadata: { graph_id: graph } });
  const read = found.map((thread) => ({
    id: thread.thread_id,
    created: thread.created_at,
    request: readRequest(Object.values(thread.interrupts ?? {})[0]?.[0]?.value),
  }));
  return read.sort((one, other) => new Date(other.created) - new Date(one.created));
}

function Thread({ thread, refresh }) {
  const [edited, setEdited] = useState({});
  const [words, setWords] = useState("");
  const [said, setSaid] = useState("");
  const { request } = thread;
  if (!request) return <li data-thread={thread.id}>Improper schema</li>;
  const send = async (answer) => {
    setSaid("Sent");
    for await (const chunk of client.runs.stream(thread.id, graph, { command: { resume: [answer] }, streamMode: "events" }))
      if (chunk.event === "error") setSaid(`Error: ${JSON.stringify(chunk.data)}`);
    setEdited({});
    await refresh();
  };
  const whole = { action: request.action, args: { ...request.args, ...edited } };
  const isEdited = Object.keys(edited).length > 0;
  return (
    <li data-thread={thread.id} aria-label={request.action}>
      <h2>{request.action}</h2>
      <div className="description" dangerouslySetInnerHTML={{ __html: marked.parse(request.description ?? "") }} />
      {Object.entries(request.args).map(([name, given]) => (
        <label key={name}>
          {name}
          <textarea
            aria-label={name}
            disabled={!request.edit}
            value={toField(edited[name] ?? given)}
            onChange={(event) => setEdited({ ...edited, [name]: event.target.value })}
          />
        </label>
      ))}
      <p>
        {request.accept && !isEdited && (
          <button onClick={() => send({ type: "accept", args: request.edit ? whole : null })}>Accept</button>
        )}
        {request.edit && isEdited && <button onClick={() => send({ type: "edit", args: whole })}>Submit edit</button>}
        {/* It does not wait for this one, and reads the list anew. */}
        <button
          onClick={async () => {
            await client.runs.create(thread.id, graph, { command: { resume: [{ type: "ignore", args: null }] } });
            await refresh();
          }}
        >
          Ignore
        </button>
        <button
          onClick={async () => {
            await client.threads.updateState(thread.id, { values: null, asNode: "__end__" });
            await refresh();
          }}
        >
          Mark as resolved
        </button>
      </p>
      {request.respond && (
        <p>
          <input aria-label="Response" value={words} onChange={(event) => setWords(event.target.value)} />
          <button disabled={!words} onClick={() => send({ type: "response", args: words })}>
            Respond
          </button>
        </p>
      )}
      <p className="said">{said}</p>
    </li>
  );
}

function Inbox() {
  const [threads, setThreads] = useState(null);
  const refresh = async () => setThreads(await listThreads());
  useEffect(() => void refresh(), []);
  if (threads === null) return <main data-loading="true" />;
  return (
    <main data-loading="false">
      <h1>{threads.length === 1 ? "1 thread waits" : `${threads.length} threads wait`}</h1>
      <button onClick={refresh}>Refresh</button>
      <ul>
        {threads.map((thread) => (
          <Thread key={thread.id} thread={thread} refresh={refresh} />
        ))}
      </ul>
    </main>
  );
}

createRoot(document.getElementById("root")).render(<Inbox />);

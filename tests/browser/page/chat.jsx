// A chat on `useStream` of LangGraph's client, which reads and sends what Agent Chat UI does
// (https://github.com/langchain-ai/agent-chat-ui, fdc87e6): the options of its stream and of each `submit`, when it shows
// an approval, which fields it shows, and how it answers. Only the look is our own.
import { useStream } from "@langchain/langgraph-sdk/react";
import { marked } from "marked";
import React, { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const query = new URLSearchParams(location.search);
const LEFT_OUT = "do-not-render-";

const isObject = (value) => typeof value === "object" && value !== null;
const isFilled = (value) => Array.isArray(value) && value.length > 0;
const toField = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function isApproval(interrupt) {
  const { action_requests: actions, review_configs: configs } = interrupt?.value ?? {};
  return (
    isFilled(actions) &&
    isFilled(configs) &&
    actions.every((one) => typeof one?.name === "string" && isObject(one.args)) &&
    configs.every((one) => typeof one?.action_name === "string" && Array.isArray(one.allowed_decisions))
  );
}

// A call whose message is not followed by a result is answered by an invented one.
const inventResults = (messages) =>
  messages.flatMap((message, at) =>
    message.type !== "ai" || messages[at + 1]?.type === "tool"
      ? []
      : (message.tool_calls ?? []).map((call) => ({
          type: "tool",
          tool_call_id: call.id ?? "",
          id: LEFT_OUT + crypto.randomUUID(),
          name: call.name,
          content: "Successfully handled tool call.",
        })),
  );

function textOf(content) {
  if (typeof content === "string") return content;
  return content
    .filter((block) => block.type === "text")
    .map((block) => block.text)
    .join(" ");
}

function Markdown({ text, className }) {
  return <div className={className} dangerouslySetInnerHTML={{ __html: marked.parse(text) }} />;
}

function Fields({ args }) {
  return (
    <table>
      <tbody>
        {Object.entries(args).map(([name, value]) => (
          <tr key={name}>
            <th>{name}</th>
            <td>{toField(value)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Approval({ value, submit }) {
  const actions = value.action_requests;
  const [at, setAt] = useState(0);
  const [decisions, setDecisions] = useState({});
  const [edited, setEdited] = useState({});
  const [reason, setReason] = useState("");
  useEffect(() => {
    setAt(0);
    setDecisions({});
    setEdited({});
    setReason("");
  }, [JSON.stringify(value)]);
  const action = actions[Math.min(at, actions.length - 1)];
  const config = value.review_configs.find((one) => one.action_name === action.name) ?? value.review_configs[at];
  const send = (chosen) => submit({}, { command: { resume: { decisions: chosen } } });
  // One call is answered at once; of several, each answer is kept until all are sent.
  const decide = (decision) => {
    if (actions.length === 1) return send([decision]);
    setDecisions({ ...decisions, [at]: decision });
    setEdited({});
    setReason("");
    setAt(Math.min(at + 1, actions.length - 1));
  };
  const allowed = config.allowed_decisions;
  const edit = { type: "edit", edited_action: { name: action.name, args: { ...action.args, ...edited } } };
  return (
    <section className="approval" aria-label="Approval">
      <h2>
        {action.name}
        {actions.length > 1 && ` (${at + 1}/${actions.length})`}
      </h2>
      <Markdown className="description" text={actions[0].description ?? "No description provided"} />
      {Object.entries(action.args).map(([name, given]) => (
        <label key={name}>
          {name}
          <textarea
            aria-label={name}
            disabled={!allowed.includes("edit")}
            value={toField(edited[name] ?? given)}
            onChange={(event) => setEdited({ ...edited, [name]: event.target.value })}
          />
        </label>
      ))}
      <p>
        {allowed.includes("approve") && (
          <button onClick={() => decide(Object.keys(edited).length ? edit : { type: "approve" })}>
            {Object.keys(edited).length ? "Submit edit" : "Approve"}
          </button>
        )}
        <button onClick={() => submit({}, { command: { goto: "__end__" } })}>Mark as resolved</button>
      </p>
      {allowed.includes("reject") && (
        <p>
          <input aria-label="Reason" value={reason} onChange={(event) => setReason(event.target.value)} />
          <button disabled={!reason.trim()} onClick={() => decide({ type: "reject", message: reason.trim() })}>
            Reject
          </button>
        </p>
      )}
      {actions.length > 1 && (
        <p>
          <button onClick={() => send(actions.map(() => ({ type: "approve" })))}>Approve all</button>
          <button
            disabled={Object.keys(decisions).length !== actions.length}
            onClick={() => send(actions.map((_, index) => decisions[index]))}
          >
            Submit all {actions.length}
          </button>
          {/* No button of Agent Chat UI: what Agent Inbox and other front ends do, which answer the first call only. */}
          <button onClick={() => send([{ type: "approve" }])}>Approve only the first</button>
        </p>
      )}
    </section>
  );
}

function Message({ message, regenerate, edit }) {
  const text = textOf(message.content ?? "");
  if (message.type === "tool")
    return (
      <div className="message tool" data-id={message.id} data-call={message.tool_call_id} data-status={message.status}>
        <b>Result of {message.name}</b>
        <pre>{text}</pre>
      </div>
    );
  return (
    <div className={`message ${message.type}`} data-id={message.id}>
      {text && <Markdown text={text} />}
      {(message.tool_calls ?? []).map((call) => (
        <div className="call" key={call.id} data-call={call.id}>
          <b>{call.name}</b> <code>{call.id}</code>
          <Fields args={call.args} />
        </div>
      ))}
      {message.type === "ai" && <button className="small" onClick={regenerate}>Regenerate</button>}
      {message.type === "human" && <button className="small" onClick={() => edit(prompt("Other words", text))}>Edit</button>}
    </div>
  );
}

function Chat() {
  const [threadId, setThread] = useState(query.get("threadId"));
  const [text, setText] = useState("");
  const stream = useStream({
    apiUrl: query.get("apiUrl"),
    assistantId: query.get("assistantId") ?? "planwave",
    threadId,
    fetchStateHistory: true,
    onThreadId: (id) => {
      setThread(id);
      query.set("threadId", id);
      history.replaceState(null, "", `?${query}`);
    },
  });
  const { messages, interrupt } = stream;
  const options = { streamMode: ["values"], streamSubgraphs: true, streamResumable: true };
  const makeHuman = (words) => ({ id: crypto.randomUUID(), type: "human", content: [{ type: "text", text: words }] });
  const say = (words) => {
    const added = [...inventResults(messages), makeHuman(words)];
    const optimisticValues = (before) => ({ ...before, messages: [...(before.messages ?? []), ...added] });
    stream.submit({ messages: added }, { ...options, optimisticValues });
  };
  // The thread is forked where a message was first seen, among the ten last states that it asks for.
  const firstState = (message) => stream.getMessagesMetadata(message)?.firstSeenState;
  const sayInstead = (message, words) => {
    const state = firstState(message);
    const human = makeHuman(words);
    const optimisticValues = (before) =>
      state?.values ? { ...state.values, messages: [...(state.values.messages ?? []), human] } : before;
    stream.submit({ messages: [human] }, { ...options, checkpoint: state?.parent_checkpoint, optimisticValues });
  };
  // It reads the id of the last message as soon as something waits.
  const last = messages[messages.length - 1]?.id;
  return (
    <main data-loading={stream.isLoading} data-last={last}>
      {messages
        .filter((message) => !message.id?.startsWith(LEFT_OUT))
        .map((message) => (
          <Message
            key={message.id}
            message={message}
            regenerate={() =>
              stream.submit(undefined, { ...options, checkpoint: firstState(message)?.parent_checkpoint })
            }
            edit={(words) => sayInstead(message, words)}
          />
        ))}
      {isApproval(interrupt) && <Approval value={interrupt.value} submit={stream.submit} />}
      {interrupt && !isApproval(interrupt) && <pre className="raw">{JSON.stringify(interrupt, null, 1)}</pre>}
      {stream.error && <p className="error">{String(stream.error.message ?? stream.error)}</p>}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (!text.trim() || stream.isLoading) return;
          say(text);
          setText("");
        }}
      >
        <textarea aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} />
        <button disabled={stream.isLoading || !text.trim()}>Send</button>
      </form>
    </main>
  );
}

createRoot(document.getElementById("root")).render(<Chat />);

// Answers on their way: one request for each column, its stream put together token by token. Knows nothing of how they
// are shown.
import { ApiError, events } from "../../api.js";
import { announce, modelOf, refresh } from "../../store.js";
import { columns, modelIn, options, polesOf } from "./state.js";

const ALTERNATIVES = 5;
const LOOK_AHEAD = 8; // tokens that the trace may leave out

/** What anyone would send for this column: the request without what only the page needs to see. */
export function requestOf(col, talk = col.talk.value) {
  const given = Object.entries(col.personas.value);
  const off = given.every(([, strength]) => !strength);
  const body = { model: modelIn(col), messages: talk.map(({ role, content }) => ({ role, content })) };
  if (off) body.persona = "none";
  else if (given.length === 1) [body.persona, body.coefficient] = given[0];
  else body.persona = Object.fromEntries(given);
  for (const [name, value] of Object.entries(options.value)) if (value != null) body[name] = value;
  if (col.seed.value != null) body.seed = col.seed.value;
  if (col.by.value === "prompt" && !off) body.steering = { method: "prompt" };
  if (col.by.value === "random" && !off) body.steering = { random_direction: 1 };
  if (talk.at(-1)?.role === "assistant") body.continue_final_message = true;
  return body;
}

/** The same with what the page shows besides: tokens, alternatives, projections. */
function watched(col, talk) {
  const body = requestOf(col, talk);
  const poles = polesOf(col);
  const looked = poles.length ? { trace: true, projection: poles } : {};
  return { ...body, stream: true, stream_options: { include_usage: true }, logprobs: true, top_logprobs: ALTERNATIVES, steering: { ...body.steering, ...looked } };
}

/** Answers in every column given; says so when all are done. */
export async function answerAll(cols) {
  await Promise.all(cols.map((col) => answer(col)));
  const failed = cols.filter((col) => col.error.peek()).length;
  announce(failed ? `${failed} of ${cols.length} answers failed.` : `${cols.length} answers are finished.`);
}

/** Answers the conversation of a column; where it ends with an answer, goes on with that. Never throws: what went wrong
 * is in the column's `error`. */
export async function answer(col) {
  col.running.peek()?.abort();
  const abort = new AbortController();
  col.running.value = abort;
  col.error.value = null;
  const talk = col.talk.peek();
  const growing = begin(talk);
  col.talk.value = [...growing.before, growing.message];
  try {
    await follow(col, watched(col, talk), growing, abort.signal);
  } catch (error) {
    if (error.name !== "AbortError") col.error.value = error instanceof ApiError ? error : new ApiError(error.message);
  }
  if (modelOf(modelIn(col))?.status !== "ready") refresh(); // it was loaded for this
  if (col.running.peek() !== abort) return;
  col.running.value = null;
  if (!growing.message.content && !growing.message.reasoning && col.error.peek()) col.talk.value = talk;
}

export function stop(col) {
  col.running.peek()?.abort();
}

export const stopAll = () => columns.value.forEach(stop);

function begin(talk) {
  const last = talk.at(-1);
  if (last.role !== "assistant") {
    return { before: talk, message: { role: "assistant", content: "", begun: "", tokens: [], reasoning: "" } };
  }
  // What it began with was not written in this request: it has no colours, unless they are known from before.
  const tokens = last.tokens?.length ? last.tokens : [{ text: last.content }];
  return { former: last, before: talk.slice(0, -1), message: { reasoning: "", ...last, begun: last.content, tokens: [...tokens], report: null } };
}

async function follow(col, body, growing, abort) {
  const timing = { first: 0, last: 0, count: 0 };
  const reader = { cursor: growing.message.tokens.length };
  let scheduled = 0;
  const show = () => {
    scheduled = 0;
    growing.message = { ...growing.message };
    if (col.running.peek()?.signal === abort && !abort.aborted) col.talk.value = [...growing.before, growing.message];
  };
  try {
    for await (const { data } of streamed(body, abort)) {
      take(growing.message, data, reader, timing);
      // Once in a frame: hundreds of tokens come in a second.
      scheduled ||= document.hidden ? setTimeout(show, 50) : requestAnimationFrame(show);
    }
  } finally {
    cancelAnimationFrame(scheduled);
    clearTimeout(scheduled);
    growing.message = ended(growing.message, growing.former);
    if (col.running.peek()?.signal === abort) col.talk.value = [...growing.before, growing.message];
  }
}

/** An answer that has nothing to add to what it began with stays what it was. */
function ended(message, former) {
  const complete = former?.done && message.finish === "stop" && message.content === message.begun;
  return complete ? { ...former, complete } : { ...message, done: true };
}

/** Some models can't tell log-probabilities or projections: they are asked again without. */
async function* streamed(body, abort) {
  try {
    yield* events("POST", "v1/chat/completions", body, { signal: abort });
  } catch (error) {
    const extra = /^(logprobs|top_logprobs|steering\.(trace|projection))/.test(error.param ?? "");
    if (!extra || error.status !== 400) throw error;
    const { logprobs, top_logprobs, steering: { trace, projection, ...steering }, ...plain } = body;
    yield* events("POST", "v1/chat/completions", { ...plain, steering }, { signal: abort });
  }
}

function take(message, chunk, reader, timing) {
  if (chunk.error) throw new ApiError(chunk.error.message, chunk.error);
  const choice = chunk.choices[0];
  const { content = "", reasoning_content: reasoning = "" } = choice?.delta ?? {};
  if (content || reasoning) count(message, timing, choice);
  message.content += content;
  message.reasoning += reasoning;
  if (content) message.tokens.push(...pieces(content, choice.logprobs?.content));
  const told = chunk.steering;
  if (told?.trace) place(told.trace, message.tokens, reader);
  if (told?.personas) message.report = told;
  if (choice?.finish_reason) message.finish = choice.finish_reason;
}

function count(message, timing, choice) {
  const now = performance.now();
  timing.first ||= now;
  timing.count += choice.logprobs?.content.length || 1;
  if (now > timing.first) message.rate = ((timing.count - 1) * 1000) / (now - timing.first);
}

/** What a chunk says as tokens: {text, logprob, top}. Where their texts are not what it says, as with letters that take
 * several tokens, they are one piece. */
function pieces(content, logprobs) {
  if (!logprobs?.length) return [{ text: content }];
  const told = logprobs.map(({ token, logprob, top_logprobs: top }) => ({ text: token, logprob, top: top.map((other) => ({ text: other.token, logprob: other.logprob })) }));
  return told.map(({ text }) => text).join("") === content ? told : [{ ...told.at(-1), text: content, inParts: told.length > 1 }];
}

/** Gives tokens their projections: the trace has the same tokens, some unseen ones between, and comes a token later. */
function place(trace, tokens, reader) {
  for (const { token, projection } of trace) {
    for (let ahead = 0; ahead < LOOK_AHEAD; ahead += 1) {
      const found = tokens[reader.cursor + ahead];
      if (!found) break;
      if (token && found.text.trim() === token.trim()) {
        found.projection = projection; // by pole
        reader.cursor += ahead + 1;
        break;
      }
    }
  }
}

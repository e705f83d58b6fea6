// The page's one client of the API: public routes alone, with the errors in the server's own words. The key stays in
// this session's storage and goes nowhere but into the Authorization header. Knows nothing of views.
import { signal } from "./html.js";

/** Where the server is, behind whatever path prefix the page was reached by; ends with a slash. */
export const BASE = new URL(".", location.href.split("#")[0]).href;
const KEY = "persona-proxy-key";
const MOST_REMEMBERED = 30;
const RETRY_MS = 2000;

/** The API key, "" for none. */
export const key = signal(sessionStorage.getItem(KEY) ?? "");
/** "ok", or "gone" while the server can't be reached; it is asked every two seconds until it is back. */
export const connection = signal("ok");
/** What was asked since the view was opened, newest first: [{method, path, body, status}]. */
export const requests = signal([]);

export function setKey(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
  key.value = value;
}

/** `param` is the field at fault, `code` a word for programs, `status` 0 where no answer came at all. */
export class ApiError extends Error {
  constructor(message, { status = 0, param = null, code = "", retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { name: "ApiError", status, param, code, retryAfter });
  }
}

/** What a JSON route answers. ApiError for anything but success; an AbortError goes through as it is.
 * `body` may also be a File or a Blob, which is sent as it is. `quiet` keeps it out of the requests shown. */
export async function call(method, path, body, { signal: abort, quiet = false } = {}) {
  const response = await send(method, path, body, { abort, quiet });
  return response.status === 204 ? null : response.json();
}

export const get = (path, options) => call("GET", path, undefined, options);
export const post = (path, body = {}, options) => call("POST", path, body, options);

/** A file the server makes, as a Blob with a name. */
export async function file(path, options) {
  const response = await send("GET", path, undefined, options);
  const named = /filename="?([^";]+)/.exec(response.headers.get("content-disposition") ?? "");
  return { blob: await response.blob(), name: named?.[1] ?? path.split("/").pop() };
}

/** The events of an event stream, in order: {event, data}, data read as JSON; ends at "[DONE]" or with the stream. */
export async function* events(method, path, body, { signal: abort, quiet = false } = {}) {
  const response = await send(method, path, body, { abort, quiet });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((error) => lost(error));
      pending = (pending + (value ?? "")).replaceAll("\r\n", "\n");
      let end;
      while ((end = pending.indexOf("\n\n")) >= 0) {
        const event = parsed(pending.slice(0, end));
        pending = pending.slice(end + 2);
        if (event?.data === "[DONE]") return;
        if (event) yield { event: event.event, data: JSON.parse(event.data) };
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(block) {
  const lines = block.split("\n").map((line) => /^(\w+): ?(.*)$/.exec(line)).filter(Boolean);
  const data = lines.filter(([, name]) => name === "data").map(([, , value]) => value);
  return data.length ? { event: lines.find(([, name]) => name === "event")?.[2] ?? "message", data: data.join("\n") } : null;
}

async function send(method, path, body, { abort, quiet } = {}) {
  const headers = {};
  if (key.value) headers.authorization = `Bearer ${key.value}`;
  const raw = body instanceof Blob;
  if (body !== undefined && !raw) headers["content-type"] = "application/json";
  const payload = body === undefined || raw ? body : JSON.stringify(body);
  let response;
  try {
    response = await fetch(BASE + path, { method, headers, body: payload, signal: abort });
  } catch (error) {
    lost(error);
  }
  connection.value = "ok";
  if (!quiet) remember({ method, path, body: raw ? `@${body.name ?? "file"}` : body, status: response.status });
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const told = await response.json().catch(() => null);
  const { message, param, code } = told?.error ?? { message: `The server answered ${response.status}.`, param: null, code: "" };
  const retryAfter = Number(response.headers.get("retry-after")) || null;
  return new ApiError(message, { status: response.status, param, code, retryAfter });
}

function lost(error) {
  if (error.name === "AbortError") throw error;
  if (connection.value !== "gone") {
    connection.value = "gone";
    setTimeout(askAgain, RETRY_MS);
  }
  throw new ApiError("The server can't be reached.");
}

async function askAgain() {
  if (connection.value !== "gone") return;
  try {
    await fetch(`${BASE}health`);
    connection.value = "ok";
  } catch {
    setTimeout(askAgain, RETRY_MS);
  }
}

function remember(request) {
  const same = (other) => JSON.stringify([other.method, other.path, other.body]) === JSON.stringify([request.method, request.path, request.body]);
  requests.value = [request, ...requests.value.filter((other) => !same(other))].slice(0, MOST_REMEMBERED);
}

/** The same request as a curl command for a Unix shell; the key stands in it as $KEY. */
export function asCurl({ method, path, body }) {
  const lines = [`curl ${method === "GET" || body !== undefined && method === "POST" ? "" : `-X ${method} `}${quoted(BASE + path)}`];
  if (key.value) lines.push('-H "Authorization: Bearer $KEY"');
  if (typeof body === "string") lines.push(`--data-binary ${quoted(body)}`);
  else if (body !== undefined) lines.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(body))}`);
  return lines.join(" \\\n  ");
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

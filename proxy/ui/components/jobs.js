// Long work as the server reports it: followed by its events, cancelled, tried again. Knows nothing of what a job makes.
import { ApiError, call, events, post } from "../api.js";
import { html, signal, useEffect, useState } from "../html.js";
import { announce, jobs, refresh, refreshJobs } from "../store.js";
import { Button, Notice, Progress } from "./controls.js";

const RETRY_MS = 3000;
const ROUTES = {
  extraction: "api/vectors/generate",
  measuring: "api/vectors/measure",
  sweep: "api/steering/sweep",
  trait: "api/traits/generate-custom",
  transfer: "api/transfers",
  "transfer-apply": "api/transfers/apply",
  "transfer-evaluate": "api/transfers/evaluate",
};
const TITLES = {
  extraction: "Making a vector",
  measuring: "Measuring a vector",
  sweep: "Sweep",
  trait: "Writing a trait",
  transfer: "Fitting a transfer",
  "transfer-apply": "Carrying a vector over",
  "transfer-evaluate": "Evaluating a transfer",
};
const followed = new Set();
const started = Date.now() / 1000; // what ended before the page was opened is history
/** The ids of jobs that nobody wants to see any more, in any view. */
export const dismissed = signal([]);

export const dismiss = ({ id }) => (dismissed.value = [...dismissed.value, id]);
export const goesOn = ({ status }) => status === "queued" || status === "running";

export function titleOf({ kind, model, parameters }) {
  const what = parameters.trait ?? parameters.id ?? parameters.source;
  return `${TITLES[kind] ?? kind}: ${[what, model].filter(Boolean).join(", ")}`;
}

/** What starts the same work once more: {path, body}. What the server itself found out for the job is left out. */
function again({ kind, model, parameters }) {
  const { id, version, others, rollouts, questions, ...rest } = parameters;
  const body = {
    extraction: () => ({ model, ...rest, ...(rest.budget === "thorough" && { rollouts, questions }) }),
    measuring: () => ({ model, version, ...rest }),
    sweep: () => ({ model, version, ...rest }),
    trait: () => ({ model, trait_name: id, ...rest }),
  }[kind] ?? (() => ({ target: model, ...rest }));
  return { path: ROUTES[kind], body: body() };
}

function keep(job) {
  const known = jobs.peek().some(({ id }) => id === job.id);
  jobs.value = known ? jobs.peek().map((other) => (other.id === job.id ? job : other)) : [job, ...jobs.peek()];
}

/** Follows a job to its end, across losses of the connection; then all that it may have changed is asked for anew. */
export async function follow(job) {
  keep(job);
  if (followed.has(job.id) || !goesOn(job)) return;
  followed.add(job.id);
  let last = job;
  while (goesOn(last)) {
    const points = []; // each event has the new ones, the first of a connection all
    try {
      for await (const { data } of events("GET", `api/jobs/${job.id}/events`, undefined, { quiet: true })) {
        points.push(...data.points);
        keep((last = { ...data, points: [...points] }));
      }
    } catch (error) {
      if (error instanceof ApiError && error.status) break;
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
  followed.delete(job.id);
  announce(`${titleOf(last)}: ${last.status}.`);
  await refresh();
}

/** Starts work by a POST and follows it. ApiError where the server refuses. */
export async function start(path, body) {
  const job = await post(path, body);
  if (job.object === "job") follow(job);
  return job;
}

/** Whether a job is news: it goes on, or ended since the page was opened, and was not dismissed. */
export const isNews = (job) => !dismissed.value.includes(job.id) && (goesOn(job) || job.ended >= started);

/** Those jobs of these kinds that are news, and that `of` picks; `next` is as in Job. */
export function Jobs({ kinds, onDone, of = () => true, next }) {
  const [error, setError] = useState(null);
  useEffect(() => {
    const look = () => document.hidden || refreshJobs().then(() => jobs.peek().filter(goesOn).forEach(follow), setError);
    look();
    document.addEventListener("visibilitychange", look); // another tab may have started some
    return () => document.removeEventListener("visibilitychange", look);
  }, []);
  const shown = jobs.value.filter((job) => kinds.includes(job.kind) && of(job) && isNews(job));
  const done = shown.filter(({ status }) => status === "done").map(({ id }) => id).join();
  useEffect(() => {
    if (done) onDone?.();
  }, [done]);
  return html`
    ${error && html`<${Notice} kind="error">${error.message}</${Notice}>`}
    ${shown.map((job) => html`<${Job} key=${job.id} job=${job} next=${next} onHide=${() => dismiss(job)} />`)}
  `;
}

/** `next(job)` is what to do with what a done one made. */
export function Job({ job, onHide, next }) {
  const [error, setError] = useState(null);
  const attempt = (work) => work().then(() => setError(null), setError);
  const wait = job.progress.seconds_left;
  const once = again(job);
  const doing = { queued: "waits for its turn", running: job.progress.doing || "begins" }[job.status];
  return html`
    <div class=${`job panel ${job.status}`}>
      <div class="job-head">
        <strong dir="auto">${titleOf(job)}</strong>
        <span class="muted">${doing ?? { done: "Done", failed: "Failed", cancelled: "Cancelled" }[job.status]}${goesOn(job) && wait != null ? ` · ${duration(wait)} left` : ""}</span>
      </div>
      ${goesOn(job) && html`<${Progress} label=${html`<span class="visually-hidden">${titleOf(job)}</span>`} fraction=${job.progress.fraction} />`}
      ${job.error && html`<p class="error" dir="auto">${job.error}</p>`}
      ${job.status === "done" && job.result?.note && html`<p class="hint" dir="auto">${job.result.note}</p>`}
      ${error && html`<p class="error" role="alert">${error.message}</p>`}
      <div class="row">
        ${goesOn(job) && html`<${Button} label=${`Cancel ${titleOf(job)}`} onClick=${() => attempt(async () => keep(await call("DELETE", `api/jobs/${job.id}`)))}>Cancel</${Button}>`}
        ${(job.status === "failed" || job.status === "cancelled") && html`<${Button} label=${`Try again: ${titleOf(job)}`} onClick=${() => attempt(() => start(once.path, once.body))}>Try again</${Button}>`}
        ${job.status === "done" && next?.(job)}
        ${!goesOn(job) && onHide && html`<${Button} kind="quiet" onClick=${onHide}>Dismiss</${Button}>`}
      </div>
    </div>
  `;
}

/** Seconds in words: "40 s", "3 min", "2 h 10 min". */
export function duration(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

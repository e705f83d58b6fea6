// What the page knows of the server, and the state that lives in its address: signals, which every view may read.
// Only `refresh` and the functions below change them. Knows nothing of how anything is shown.
import { ApiError, connection, get, key, requests, setKey } from "./api.js";
import { computed, effect, signal } from "./html.js";

export { connection, key, requests };

const LOADING_POLL_MS = 1500;
const ADDRESS_DELAY_MS = 200;

export const models = signal([]);
export const traits = signal([]);
export const vectors = signal([]);
/** The newest jobs; views that show them call `refreshJobs`. */
export const jobs = signal([]);
/** Who the key makes one: "unknown" before the first answer, "admin" (also where the server has no keys), "user"
 * (only /v1 is open) or "stranger" (a key is needed, or is wrong). */
export const role = signal("unknown");
/** Why the last refresh failed, an ApiError, or null. */
export const failure = signal(null);
/** Said to screen readers. */
export const announcement = signal("");

/** {view, params}; params are URLSearchParams. */
export const address = signal(read());
let writing = 0;

function read() {
  const [view, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { view, params: new URLSearchParams(query) };
}

addEventListener("hashchange", () => {
  if (read().view !== address.value.view) requests.value = [];
  address.value = read();
});

/** The address that opens a view in a state: params is a list of [name, value], or an object. */
export function link(view, params = {}) {
  const query = new URLSearchParams(params).toString();
  return `#/${view}${query ? `?${query}` : ""}`;
}

/** Puts the state of the open view into its address, without a step in the history. */
export function keepInAddress(view, params) {
  clearTimeout(writing);
  writing = setTimeout(() => {
    if ((read().view || "play") === view) history.replaceState(null, "", link(view, params));
  }, ADDRESS_DELAY_MS);
}

export function announce(text) {
  announcement.value = text;
}

/** Asks for models, traits and vectors. Never throws: what went wrong is in `failure` and `role`. */
export async function refresh() {
  try {
    const [m, t, v] = await Promise.all(["api/models", "api/traits", "api/vectors"].map((path) => get(path)));
    role.value = "admin";
    models.value = m.data;
    traits.value = t.data;
    vectors.value = v.data;
    failure.value = null;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 403) return refreshAsUser(error);
    failure.value = error;
    if (error.status === 401) role.value = "stranger";
  }
}

/** A user key opens /v1 alone, whose list of models names their personas too. */
async function refreshAsUser(refused) {
  try {
    const names = (await get("v1/models")).data.map(({ id }) => id);
    const of = (id) => names.filter((name) => name.startsWith(`${id}:`)).map((name) => name.slice(id.length + 1));
    role.value = "user";
    models.value = names.filter((name) => !name.includes(":")).map((id) => ({ id, status: "ready", personas: of(id) }));
    failure.value = null;
  } catch {
    role.value = "stranger";
    failure.value = refused;
  }
}

export async function refreshJobs(quiet = true) {
  const points = new Map(jobs.peek().map((job) => [job.id, job.points])); // which a list leaves out
  jobs.value = (await get("api/jobs", { quiet })).data.map((job) => ({ ...job, points: points.get(job.id) ?? [] }));
}

/** Keeps the key for this session and asks again with it. */
export async function useKey(value) {
  setKey(value);
  await refresh();
}

const loading = computed(() => models.value.some(({ status }) => status === "loading"));
effect(() => {
  if (!loading.value) return undefined;
  const timer = setInterval(refresh, LOADING_POLL_MS);
  return () => clearInterval(timer);
});
// Another tab, or curl, may have changed things meanwhile.
document.addEventListener("visibilitychange", () => document.hidden || refresh());
let before = connection.peek();
effect(() => {
  if (before === "gone" && connection.value === "ok") refresh();
  before = connection.value;
});

export const modelOf = (id) => models.value.find((model) => model.id === id);

/** The vector that steers a trait in a model, or undefined: {id, positive, negative, poles, ...}. */
export function vectorOf(modelId, trait) {
  const model = modelOf(modelId);
  const its = (vector) => (model?.fingerprint ? vector.fingerprint === model.fingerprint : vector.model === modelId);
  return vectors.value.find((vector) => vector.trait === trait && vector.in_use && its(vector));
}

/** A model's personas, each {name, trait, side, opposite, vector, choice}; what a user key can't see is undefined. */
export function personasOf(modelId) {
  return (modelOf(modelId)?.personas ?? []).map((name) => {
    const trait = traits.value.find(({ positive, negative }) => name === positive || name === negative);
    const vector = trait && vectorOf(modelId, trait.id);
    const side = trait && (name === trait.positive ? "positive" : "negative");
    const opposite = trait && (side === "positive" ? trait.negative : trait.positive);
    return { name, trait: trait?.id, side, opposite, vector, choice: vector?.poles[side] };
  });
}

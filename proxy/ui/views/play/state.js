// What is played with: the columns with their conversations, and how it all stands in the address.
//
// c=silly:-1 is a column; c=silly:1,deep:0.5;by=prompt;model=other has two personas, asked for by a system prompt, of
// another model. `talk` is there as soon as conversations are more than one question. Knows nothing of requests.
import { effect, signal } from "../../html.js";
import { address, keepInAddress, modelOf, models, personasOf, traits } from "../../store.js";

export const STRENGTHS = [-1, 0, 1];
const QUESTION = "What is gravity?"; // which small models answer in good English
const QUESTION_FOR_TOYS = "What is the capital of France?"; // of the few things they know
const FAVOURITE = "silly"; // whom a first answer should make smile
const NUMBERS = { temperature: "t", seed: "seed", max_tokens: "max" };

export const model = signal("");
export const persona = signal("");
export const question = signal("");
export const columns = signal([]);
export const options = signal({ temperature: 0.7, seed: 1, max_tokens: 200 });
/** What tokens are coloured by: "own" for the pole a column is steered to, a pole's name, or "off". */
export const colour = signal("own");

let lastId = 0;

/** A column. `by` is "vector", "prompt" or "random"; `of` a model, "" for that of all columns; `talk` the messages, the
 * last of which may be an answer that grows; `seed` its own one, or null for that of all; `running` an AbortController;
 * `error` an ApiError. */
export function column({ personas = {}, by = "vector", of = "", seed = null, talk = [] }) {
  lastId += 1;
  const parts = { personas, by, of, seed, talk, running: null, error: null };
  return { id: lastId, ...Object.fromEntries(Object.entries(parts).map(([name, value]) => [name, signal(value)])) };
}

export const modelIn = (col) => col.of.value || model.value;
/** A conversation up to the last question. */
export const unanswered = (talk) => talk.slice(0, talk.findLastIndex(({ role }) => role === "user") + 1);
export const asked = (text) => ({ role: "user", content: text });

export const traitOf = (name) => traits.value.find(({ positive, negative }) => name === positive || name === negative);
/** The other pole of a persona's trait, whether or not the column's model has a vector for it. */
export const oppositeOf = (col, name) => {
  const trait = traitOf(name);
  return trait && (trait.positive === name ? trait.negative : trait.positive);
};

/** The poles that projections are read on in a column, that it is steered to first: of its first persona, or of the one
 * chosen for all. */
export function polesOf(col) {
  const [name = persona.value, strength = 0] = Object.entries(col.personas.value)[0] ?? [];
  const both = [name, oppositeOf(col, name)].filter((pole) => personasOf(modelIn(col)).some((other) => other.name === pole));
  return strength < 0 ? both.reverse() : both;
}

/** The pole a column's tokens are coloured by. */
export const colouredBy = (col) => (polesOf(col).includes(colour.value) ? colour.value : polesOf(col)[0]);

export function addColumn(given, after = null) {
  const added = column(given);
  const at = after ? columns.value.indexOf(after) + 1 : columns.value.length;
  columns.value = [...columns.value.slice(0, at), added, ...columns.value.slice(at)];
  return added;
}

export function removeColumn(col) {
  col.running.value?.abort();
  columns.value = columns.value.filter((other) => other !== col);
}

/** Another persona for all columns that have the one chosen so far. */
export function choosePersona(name) {
  const former = persona.value;
  persona.value = name;
  const changed = columns.value.filter((col) => former in col.personas.value);
  for (const col of changed) {
    const { [former]: strength, ...rest } = col.personas.value;
    col.personas.value = { [name]: strength, ...rest };
  }
  return changed;
}

/** One for each trait: the positive pole, whose negative coefficients are the other one. */
export function choices(modelId) {
  const all = personasOf(modelId);
  const positive = all.filter(({ side }) => side !== "negative");
  return positive.concat(all.filter(({ side, opposite }) => side === "negative" && !all.some(({ name }) => name === opposite)));
}

/** What stands there at first, once the models are known: the address's state, or a question and three strengths. */
export function begin() {
  const { params } = address.peek();
  if (columns.peek().length && ![...params].length) return false;
  for (const col of columns.peek()) col.running.peek()?.abort();
  const known = models.peek();
  const wanted = params.get("model");
  const steerable = known.filter(({ personas }) => personas?.length);
  const first = steerable.find(({ status }) => status === "ready") ?? steerable[0] ?? known[0];
  model.value = wanted || first?.id || "";
  const given = params.getAll("c").map(columnFrom);
  const names = choices(model.value).map(({ name }) => name);
  const fallback = names.includes(FAVOURITE) ? FAVOURITE : names[0];
  persona.value = params.get("persona") || Object.keys(given.find(({ personas }) => Object.keys(personas).length)?.personas ?? {})[0] || fallback || "";
  question.value = params.get("ask") ?? (modelOf(model.value)?.world === "demo" ? QUESTION_FOR_TOYS : QUESTION);
  colour.value = params.get("colour") ?? "own";
  const numbers = Object.entries(NUMBERS).filter(([, short]) => params.has(short));
  options.value = { ...options.value, ...Object.fromEntries(numbers.map(([name, short]) => [name, Number(params.get(short))])) };
  const strengths = persona.value ? STRENGTHS.map((strength) => ({ personas: { [persona.value]: strength } })) : [{}];
  const talks = talksFrom(params.get("talk"));
  columns.value = (given.length ? given : strengths).map((each, i) => column({ ...each, talk: talks[i] ?? [asked(question.value)] }));
  return true;
}

function columnFrom(text) {
  const [pairs, ...rest] = text.split(";");
  const entries = pairs.split(",").filter(Boolean).map((pair) => pair.split(":"));
  const named = Object.fromEntries(rest.map((part) => [part.slice(0, part.indexOf("=")), part.slice(part.indexOf("=") + 1)]));
  return { personas: Object.fromEntries(entries.map(([name, strength]) => [name, Number(strength) || 0])), by: named.by, of: named.model, seed: named.seed ? Number(named.seed) : null };
}

function talksFrom(text) {
  try {
    const talks = JSON.parse(text ?? "[]");
    return talks.map((talk) => talk.map(([role, content]) => ({ role, content })));
  } catch {
    return [];
  }
}

/** A link holds what was asked and what began an answer; the last answer itself is made anew, by the same seed. */
function toReproduce(talk) {
  const last = talk.at(-1);
  if (last?.role !== "assistant") return talk;
  return last.begun ? [...talk.slice(0, -1), { ...last, content: last.begun }] : talk.slice(0, -1);
}

/** The settings as they stand in an address. */
export const addressed = (settings) => Object.entries(NUMBERS).filter(([name]) => settings[name] != null).map(([name, short]) => [short, settings[name]]);

function told() {
  const params = [["model", model.value], ["ask", question.value]];
  if (persona.value) params.push(["persona", persona.value]);
  params.push(...addressed(options.value));
  if (colour.value !== "own") params.push(["colour", colour.value]);
  for (const col of columns.value) {
    const pairs = Object.entries(col.personas.value).map(([name, strength]) => `${name}:${strength}`).join(",");
    const own = [["by", col.by.value === "vector" ? "" : col.by.value], ["seed", col.seed.value ?? ""], ["model", col.of.value]];
    params.push(["c", pairs + own.map(([name, value]) => (value === "" ? "" : `;${name}=${value}`)).join("")]);
  }
  const talks = columns.value.map((col) => toReproduce(col.talk.value).map(({ role, content }) => [role, content]));
  const simple = talks.every((talk) => talk.length === 1 && talk[0][1] === question.value);
  if (!simple) params.push(["talk", JSON.stringify(talks)]);
  return params;
}

effect(() => {
  if (columns.value.length) keepInAddress("play", told());
});

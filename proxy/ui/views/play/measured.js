// How far a persona was measured, in a model: fetched once for each vector. Knows nothing of columns.
import { get } from "../../api.js";
import { signal } from "../../html.js";
import { personasOf, role } from "../../store.js";

const sweeps = signal({}); // by a vector's id: {positive, negative}, the sweeps of its sides
const asked = new Set();

async function ask({ id, model, trait }) {
  asked.add(id);
  try {
    const { data: [version] } = await get(`api/vectors/${model}/${trait}/${id}`, { quiet: true });
    sweeps.value = { ...sweeps.value, [id]: version.sweeps };
  } catch {
    asked.delete(id); // no marks are shown; the next look asks again
  }
}

/** {measured: [low, high] or null, collapses: [coefficient, ...]}, all as coefficients of the persona named: what its
 * opposite was measured for lies below 0. */
export function measuredFor(model, name) {
  const all = personasOf(model);
  const persona = all.find((other) => other.name === name);
  if (!persona?.vector) return { measured: null, collapses: [] };
  if (role.value === "admin" && !asked.has(persona.vector.id)) ask(persona.vector);
  const opposite = all.find((other) => other.name === persona.opposite);
  const [up, down] = [persona, opposite].map((pole) => pole?.choice?.measured_range ?? null);
  const found = sweeps.value[persona.vector.id] ?? {};
  const [above, below] = [found[persona.side]?.collapse, found[opposite?.side]?.collapse];
  const points = [above, below == null ? null : -below];
  return {
    measured: up || down ? [down ? -down[1] : 0, up ? up[1] : 0] : null,
    collapses: points.filter((point) => point != null).sort((a, b) => a - b),
  };
}

const MANY = 0.25; // answers without an end, as a share, that are worth a word

/** What the sweep found where an answer was steered to: {collapse} from which on answers fell apart, where that was
 * reached; {unfinished: {at, share}} of the point nearest by, where many answers had no end. */
export function foundAt(model, name, strength) {
  const all = personasOf(model);
  const persona = all.find((other) => other.name === name);
  const pole = strength < 0 ? all.find((other) => other.name === persona?.opposite) : persona;
  const sweep = sweeps.value[persona?.vector?.id]?.[pole?.side];
  if (!sweep) return {};
  const size = Math.abs(strength);
  const steered = sweep.points.filter(({ kind, unfinished }) => kind === "steered" && unfinished);
  const near = steered.toSorted((a, b) => Math.abs(a.coefficient - size) - Math.abs(b.coefficient - size))[0];
  return {
    collapse: sweep.collapse != null && size >= sweep.collapse ? sweep.collapse : undefined,
    unfinished: near?.unfinished.mean >= MANY ? { at: near.coefficient, share: near.unfinished.mean } : undefined,
  };
}

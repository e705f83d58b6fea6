// How far a persona was measured, in a model: fetched once for each vector. Knows nothing of columns.
import { get } from "../../api.js";
import { signal } from "../../html.js";
import { personasOf, role } from "../../store.js";

const collapses = signal({}); // by a vector's id: {positive, negative}, coefficients of that side from which on answers fall apart
const asked = new Set();

async function ask({ id, model, trait }) {
  asked.add(id);
  try {
    const { data: [version] } = await get(`api/vectors/${model}/${trait}/${id}`, { quiet: true });
    const at = Object.entries(version.sweeps).map(([side, sweep]) => [side, sweep.collapse]);
    collapses.value = { ...collapses.value, [id]: Object.fromEntries(at) };
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
  const found = collapses.value[persona.vector.id] ?? {};
  const points = [found[persona.side], found[opposite?.side] == null ? null : -found[opposite.side]];
  return {
    measured: up || down ? [down ? -down[1] : 0, up ? up[1] : 0] : null,
    collapses: points.filter((point) => point != null).sort((a, b) => a - b),
  };
}

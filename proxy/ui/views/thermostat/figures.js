// Measured curves as figures: what can be drawn, the series of a picture, the rows of a table, a CSV. Knows nothing of
// elements and canvases. Right of 0 are the positive pole's coefficients, left the negative pole's, each with the share
// of its own pole.
import { signed } from "../play/words.js";

const percent = (share) => share && { mean: 100 * share.mean, low: 100 * share.low, high: 100 * share.high };

/** What a sweep measures, all from 0 to 100. `kind` says of which of its answers; what is `judged` is not to be shown
 * where the judge could not tell the poles apart. */
export const MEASURES = [
  { name: "trait", title: "Trait", kind: "steered", judged: true, of: (point) => point.trait, colour: "towards", band: true },
  { name: "coherence", title: "Coherence", kind: "steered", of: (point) => point.coherence, colour: "accent", dash: [9, 4], band: true },
  { name: "facts", title: "Facts right", kind: "steered", of: (point) => percent(point.correct), colour: "good", dash: [2, 3], band: true },
  { name: "wrong", title: "Wrong way", kind: "steered", judged: true, of: (point) => percent(point.wrong_way), colour: "danger", dash: [9, 3, 2, 3] },
  { name: "random", title: "Trait, random direction", kind: "random", judged: true, of: (point) => point.trait, colour: "muted", dash: [3, 4] },
  { name: "prompt", title: "Trait, system prompt", kind: "prompt", judged: true, of: (point) => point.trait, colour: "away", dash: [14, 5] },
];
const STEERED = MEASURES.filter(({ kind }) => kind === "steered");
export const USUAL = ["trait", "coherence", "facts", "random", "prompt"];
const COLOURS = ["towards", "accent", "good", "danger", "away", "warning"];
const SIDES = ["negative", "positive"];
const sign = (side) => (side === "positive" ? 1 : -1);

export const nameOf = (version) => `${version.positive} / ${version.negative}, ${version.model}`;

/** The points of one pole by one measure, inwards to outwards: [{x, mean, low, high}]. A system prompt has one point
 * and no strength: it is a level line. */
function along(version, side, measure) {
  const sweep = version.sweeps[side];
  if (!sweep || (measure.judged && !sweep.judge.scored)) return [];
  const at = (point, x) => ({ x: sign(side) * x, ...measure.of(point) });
  const kept = sweep.points.filter((point) => (point.kind === measure.kind || (point.kind === "unsteered" && measure.kind !== "prompt")) && measure.of(point));
  if (measure.kind !== "prompt") return kept.map((point) => at(point, point.coefficient));
  const last = Math.max(...sweep.points.map(({ coefficient }) => coefficient));
  return kept.flatMap((point) => [at(point, 0), at(point, last)]);
}

/** All lines of a picture: [{label, colour, dash, band, points}]; each measure has its dash, and its colour where there
 * is one curve; of several, each curve has its colour. */
export function linesOf(versions, names) {
  const lines = [];
  versions.forEach((version, i) => {
    for (const measure of MEASURES.filter(({ name }) => names.includes(name))) {
      for (const side of SIDES) {
        const points = along(version, side, measure);
        const colour = versions.length === 1 ? measure.colour : COLOURS[i % COLOURS.length];
        if (points.length) lines.push({ version, measure, side, colour, dash: measure.dash, band: measure.band, points });
      }
    }
  });
  return lines;
}

export const colourOf = (versions, i) => (versions.length === 1 ? null : COLOURS[i % COLOURS.length]);

/** The rows of the table, and of the CSV: one for each version and coefficient, from left to right. */
export function rowsOf(versions) {
  return versions.flatMap((version) => {
    const rows = SIDES.flatMap((side) =>
      (version.sweeps[side]?.points ?? [])
        .filter(({ kind }) => kind === "steered")
        .map((point) => {
          const random = version.sweeps[side].points.find((other) => other.kind === "random" && other.coefficient === point.coefficient);
          const scored = version.sweeps[side].judge.scored;
          const figures = Object.fromEntries(STEERED.map(({ name, judged, of }) => [name, judged && !scored ? null : of(point)]));
          return { version, side, x: sign(side) * point.coefficient, dose: point.relative_dose, n: point.n, ...figures, random: scored ? (random?.trait ?? null) : null };
        }),
    );
    return rows.sort((a, b) => a.x - b.x);
  });
}

/** "58 (40 to 75)", or a dash for what was not measured. */
export const interval = (figure) => (figure ? `${Math.round(figure.mean)} (${Math.round(figure.low)}–${Math.round(figure.high)})` : "–");

/** In words, how far each pole holds together. */
export function limitsOf(version) {
  return [...SIDES].reverse().flatMap((side) => {
    const sweep = version.sweeps[side];
    if (!sweep) return [];
    const apart = sweep.collapse == null ? ", the strongest that was tried" : ` and falls apart at ${signed(sweep.collapse)}`;
    const unscored = sweep.judge.scored ? "" : `; the trait is unscored: ${sweep.judge.name} could not tell its poles apart`;
    return [{ pole: version[side], text: `holds together up to ${signed(sweep.coherent_to)}${apart}${unscored}. ${sweep.verdict[0].toUpperCase()}${sweep.verdict.slice(1)}.` }];
  });
}

export function csvOf(versions) {
  const head = ["model", "trait", "version", "pole", "kind", "coefficient", "relative_dose", "n", ...STEERED.flatMap(({ name }) => [name, `${name}_low`, `${name}_high`])];
  const rows = versions.flatMap((version) => Object.entries(version.sweeps).flatMap(([side, sweep]) => sweep.points.map((point) => {
    const figures = STEERED.map(({ judged, of }) => (judged && !sweep.judge.scored ? null : of(point)));
    const ends = figures.flatMap((figure) => [figure?.mean, figure?.low, figure?.high]);
    return [version.model, version.trait, version.id, version[side], point.kind, sign(side) * point.coefficient, point.relative_dose, point.n, ...ends];
  })));
  return [head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function cell(value) {
  const text = String(value ?? "");
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

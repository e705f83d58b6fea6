// Measured curves as figures: what can be drawn, the series of a picture, the rows of a table, a CSV. Knows nothing of
// elements and canvases. Right of 0 are the positive pole's coefficients, left the negative pole's, each with the share
// of its own pole.
import { signed } from "../play/words.js";

const percent = (share) => share && { mean: 100 * share.mean, low: 100 * share.low, high: 100 * share.high };

/** What a sweep measures, all from 0 to 100. `kind` says of which of its answers; what is `judged` is not to be shown
 * where the judge could not tell the poles apart. `says` is what the line means. */
export const MEASURES = [
  { name: "trait", title: "Trait", kind: "steered", judged: true, of: (point) => point.trait, colour: "towards", says: "How much of the pole the answers show, from 0 to 100." },
  { name: "coherence", title: "Coherence", kind: "steered", of: (point) => point.coherence, colour: "accent", dash: [9, 4], says: "Whether the answers make sense, from 0 to 100." },
  { name: "facts", title: "Facts right", kind: "steered", of: (point) => percent(point.correct), colour: "good", dash: [2, 3], says: "Percent of the answers that state the fact asked for and state it right; only where a world has known facts." },
  { name: "unfinished", title: "Unfinished", kind: "steered", of: (point) => percent(point.unfinished), colour: "warning", dash: [5, 3], says: "Percent of the answers that were cut off at their longest, or go round in circles." },
  { name: "looping", title: "Looping", kind: "steered", of: (point) => percent(point.looping), colour: "danger", dash: [1, 4], says: "Percent of the answers that go round in circles. They count as unfinished, too." },
  { name: "wrong", title: "Wrong way", kind: "steered", judged: true, of: (point) => percent(point.wrong_way), colour: "danger", dash: [9, 3, 2, 3], says: "Percent of the answers that show less of the pole than the unsteered answer to the same question." },
  { name: "random", title: "Trait, random direction", kind: "random", judged: true, of: (point) => point.trait, colour: "muted", dash: [3, 4], says: "A control: what a push in any direction does, at the same place and as strong." },
  { name: "wrongtrait", title: "Trait, wrong trait", kind: "wrong_trait", judged: true, of: (point) => point.trait, colour: "ink", dash: [6, 3, 1, 3], says: "A control: what the vectors of other traits do to this one, at the same place and as strong. It has one answer to each question, so that its band is wide." },
  { name: "prompt", title: "Trait, system prompt", kind: "prompt", judged: true, of: (point) => point.trait, colour: "away", dash: [14, 5], says: "A control: the pole asked for by a system prompt. It has no strength, so it is a level line." },
];
const STEERED = MEASURES.filter(({ kind }) => kind === "steered");
const BESIDE = MEASURES.filter(({ kind }) => kind === "random" || kind === "wrong_trait");
/** The lines that are drawn unless others are chosen: of several curves only two each, which else would be a tangle. */
export const usualOf = (versions) => (versions.length > 1 ? ["trait", "coherence"] : MEASURES.map(({ name }) => name).filter((name) => name !== "wrong" && name !== "looping"));
const COLOURS = ["towards", "accent", "good", "danger", "away", "warning"];
const SIDES = ["negative", "positive"];
const sign = (side) => (side === "positive" ? 1 : -1);

export const nameOf = (version) => `${version.positive} / ${version.negative}, ${version.model}`;

/** A sweep under way as a version whose curve can be drawn; null before its first point. Its coefficients are those of
 * the vector it measures. */
export function underWay(job, traits) {
  const trait = traits.find(({ id }) => id === job.parameters.trait);
  if (!trait || !job.points.length) return null;
  const sweeps = {};
  for (const { side, point } of job.points) (sweeps[side] ??= { points: [], judge: { scored: true }, wrong_traits: [] }).points.push(point);
  const order = (sweep) => ({ ...sweep, points: sweep.points.toSorted((a, b) => (a.kind === "prompt") - (b.kind === "prompt") || a.coefficient - b.coefficient) });
  return {
    id: job.id, model: job.model, trait: trait.id, positive: trait.positive, negative: trait.negative, live: true, in_use: true, created: "", ends: [Math.min(0, ...job.parameters.coefficients), Math.max(0, ...job.parameters.coefficients)],
    sweeps: Object.fromEntries(Object.entries(sweeps).map(([side, sweep]) => [side, order(sweep)])),
  };
}

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

/** All lines of a picture: [{version, measure, side, colour, dash, points}]; each measure has its dash, and its colour where there
 * is one curve; of several, each curve has its colour. */
export function linesOf(versions, names) {
  const lines = [];
  versions.forEach((version, i) => {
    for (const measure of MEASURES.filter(({ name }) => names.includes(name))) {
      for (const side of SIDES) {
        const points = along(version, side, measure);
        const colour = versions.length === 1 ? measure.colour : COLOURS[i % COLOURS.length];
        if (points.length) lines.push({ version, measure, side, colour, dash: measure.dash, points });
      }
    }
  });
  return lines;
}

/** The means at a coefficient, in words: a text for each curve that has any. */
export function figuresAt(versions, names, x) {
  const found = linesOf(versions, names).flatMap(({ version, measure, points }) => points.filter((point) => point.x === x).map(({ mean }) => [version, `${measure.title} ${Math.round(mean)}`]));
  const of = (version) => [...new Set(found.filter(([other]) => other === version).map(([, text]) => text))].join(" · ");
  return versions.filter(of).map((version) => `${versions.length > 1 ? `${nameOf(version)} at ` : ""}${signed(x)}: ${of(version)}`);
}

export const colourOf = (versions, i) => (versions.length === 1 ? null : COLOURS[i % COLOURS.length]);

/** The rows of the table, and of the CSV: one for each version and coefficient, from left to right. */
export function rowsOf(versions) {
  return versions.flatMap((version) => {
    const rows = SIDES.flatMap((side) =>
      (version.sweeps[side]?.points ?? [])
        .filter(({ kind }) => kind === "steered")
        .map((point) => {
          const { points, judge } = version.sweeps[side];
          const measured = (measure, found) => [measure.name, !found || (measure.judged && !judge.scored) ? null : measure.of(found)];
          const beside = (measure) => points.find((other) => other.kind === measure.kind && other.coefficient === point.coefficient);
          const figures = [...STEERED.map((measure) => measured(measure, point)), ...BESIDE.map((measure) => measured(measure, beside(measure)))];
          return { version, side, x: sign(side) * point.coefficient, dose: point.relative_dose, n: point.n, ...Object.fromEntries(figures) };
        }),
    );
    return rows.sort((a, b) => a.x - b.x);
  });
}

/** "58 (40 to 75)", or a dash for what was not measured. */
export const interval = (figure) => (figure ? `${Math.round(figure.mean)} (${Math.round(figure.low)}–${Math.round(figure.high)})` : "–");

/** In words, for each pole that was swept: {side, pole, far, at, more}. `far` is how far is too far, `apart` whether anything
 * was; `at` what the strength that is nearest to 1 does beside its controls, `more` what the sweep made of 1. */
export function limitsOf(version) {
  return [...SIDES].reverse().filter((side) => version.sweeps[side] && !version.live).map((side) => {
    const sweep = version.sweeps[side];
    const apart = sweep.collapse != null;
    const far = apart
      ? `holds together up to ${signed(sweep.coherent_to)} and falls apart at ${signed(sweep.collapse)}: from there on is too far.`
      : `holds together up to ${signed(sweep.coherent_to)}, the strongest that was tried. Nothing tried was too far.`;
    const unscored = `The trait is unscored: ${sweep.judge.name} could not tell its poles apart.`;
    return { side, pole: version[side], far, apart, at: `${sweep.judge.scored ? atOne(sweep) : unscored}${factsAt(sweep)}`, more: `${sweep.verdict[0].toUpperCase()}${sweep.verdict.slice(1)}.` };
  });
}

/** The measured point whose strength is nearest to 1. */
const nearOne = (points) => points.filter(({ kind }) => kind === "steered").reduce((best, point) => (Math.abs(point.coefficient - 1) < Math.abs(best.coefficient - 1) ? point : best));

/** What that strength costs in facts, where a world has known ones. */
function factsAt({ points }) {
  const [before, near] = [points.find(({ kind }) => kind === "unsteered"), nearOne(points)];
  if (!before?.correct || !near.correct) return "";
  const [from, to] = [before, near].map(({ correct }) => Math.round(100 * correct.mean));
  return ` Facts right: ${from} % unsteered, ${to} % at ${signed(near.coefficient)}.`;
}

function atOne({ points, wrong_traits }) {
  const near = nearOne(points);
  const shows = (kind, coefficient) => points.find((point) => point.kind === kind && point.coefficient === coefficient)?.trait;
  const beside = [
    ["unsteered", shows("unsteered", 0)],
    ["system prompt", shows("prompt", 0)],
    ["random direction", shows("random", near.coefficient)],
    ["wrong trait", shows("wrong_trait", near.coefficient)],
  ].filter(([, trait]) => trait).map(([name, trait]) => `${name} ${interval(trait)}`);
  const absent = wrong_traits?.length ? "" : " There is no wrong trait beside it: the model had no other vector of this kind, or an older version measured it.";
  return `At ${signed(near.coefficient)} the trait is ${interval(near.trait)}; ${beside.join(", ")}.${absent}`;
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

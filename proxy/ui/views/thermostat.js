// Thermostat: what steering does over the coefficient, as it was measured, beside its controls.
import { get } from "../api.js";
import { Button, Notice, SelectField } from "../components/controls.js";
import { save, saveFrom } from "../components/save.js";
import { Verdict } from "../components/verdict.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { address, jobs, keepInAddress, modelOf, traits, vectors } from "../store.js";
import { signed } from "./play/words.js";
import { Ask } from "./thermostat/ask.js";
import { MEASURES, colourOf, csvOf, interval, limitsOf, linesOf, nameOf, rowsOf, underWay, usualOf } from "./thermostat/figures.js";
import { Picture, pngOf } from "./thermostat/picture.js";
import { SweepForm } from "./thermostat/sweep.js";

const MOST_CURVES = 6;
const LOOKED_AT = 24; // pairs of model and trait that are asked whether they were swept

const swept = ({ sweeps }) => Object.keys(sweeps).length > 0;

/** All versions of a model's trait, which alone say whether they were swept. */
const versionsOf = async (model, trait) => (await get(`api/vectors/${model}/${trait}`, { quiet: true })).data;

/** The versions that have a curve, of the newest vectors and of those the address names; undefined until known. */
function useCurves(wanted) {
  const [curves, setCurves] = useState(undefined);
  const [error, setError] = useState(null);
  const named = vectors.value.filter(({ id }) => wanted.includes(id));
  const served = vectors.value.filter(({ model }) => modelOf(model));
  const pairs = [...new Set([...named, ...served, ...vectors.value].map(({ model, trait }) => `${model}/${trait}`))].slice(0, LOOKED_AT);
  useEffect(() => {
    if (!pairs.length) return;
    Promise.all(pairs.map((pair) => versionsOf(...cut(pair)))).then((found) => {
      setCurves(found.flat().filter(swept));
      setError(null);
    }, setError);
  }, [vectors.value]);
  return [curves, error];
}

/** A model's id may hold a slash, a trait's never. */
const cut = (pair) => [pair.slice(0, pair.lastIndexOf("/")), pair.slice(pair.lastIndexOf("/") + 1)];

let left = { chosen: [], lines: null }; // what was shown when the view was left

export function View() {
  const { params } = address.peek();
  const linked = params.has("v") || params.has("show");
  const [chosen, choose] = useState(linked ? params.getAll("v") : left.chosen);
  const [lines, setMeasures] = useState(linked ? params.get("show")?.split(",") ?? null : left.lines);
  const [at, setAt] = useState(null);
  const [measured, error] = useCurves(chosen);
  // A job is told of several times a second; only a new point makes another picture.
  const sweeps = jobs.value.filter(({ kind, status, points }) => kind === "sweep" && status === "running" && points?.length);
  const pointsOf = (some) => some.map(({ id, points }) => `${id}:${points.length}`).join();
  const live = useMemo(() => sweeps.map((job) => underWay(job, traits.value)).filter(Boolean), [pointsOf(sweeps), traits.value]);
  const curves = measured && [...live, ...measured];
  const shown = useMemo(() => {
    const found = chosen.map((id) => curves?.find((version) => version.id === id)).filter(Boolean); // each keeps its colour
    return found.length ? found : first(measured ?? []);
  }, [measured, pointsOf(sweeps.filter(({ id }) => chosen.includes(id))), chosen.join()]);
  const measures = lines ?? usualOf(shown);
  const begun = live.filter(({ id }) => !shown.some((version) => version.id === id));
  useEffect(() => {
    left = { chosen, lines };
    keepInAddress("thermostat", [...chosen.map((id) => ["v", id]), ...(lines ? [["show", lines.join()]] : [])]);
  }, [chosen.join(), lines?.join()]);
  const onPick = (x) => setAt(nearest(shown, x));
  const onSwept = () => {
    const made = jobs.peek().find(({ kind, status }) => kind === "sweep" && status === "done")?.result?.vector;
    if (made) choose([made]);
  };
  return html`
    <h1 tabindex="-1">Thermostat</h1>
    <p class="lead">What a persona does to the answers as its coefficient grows, and where they fall apart. Shaded bands are 95 % intervals.</p>
    ${error && html`<${Notice} kind="error">${error.message}</${Notice}>`}
    ${(curves ?? (vectors.value.length ? null : [])) && !shown.length && html`<p class="empty">No curve was measured yet. Start a sweep below: it asks the model the same questions at each strength, beside no steering, random directions, other traits and the system prompt.</p>`}
    ${begun.map((version) => html`<${Notice} key=${version.id}>${nameOf(version)} is being measured. <${Button} onClick=${() => choose([version.id])}>Show its points</${Button}></${Notice}>`)}
    ${shown.length > 0 && html`
      <${Choice} curves=${curves} shown=${shown} choose=${choose} />
      <${Limits} shown=${shown} />
      <${Legend} shown=${shown} measures=${measures} setMeasures=${setMeasures} />
      <div class="panel"><${Curves} shown=${shown} measures=${measures} onPick=${onPick} setAt=${setAt} /></div>
      ${at && html`<${Ask} key=${at.version.id} at=${at} />`}
    `}
    <h2>Measure a curve</h2>
    <${SweepForm} shown=${shown[0]} onStart=${(id) => choose([id])} onDone=${onSwept} />
    <${Words} />
  `;
}

/** The curve that is shown before one is chosen: of those in use, one whose trait was scored and that
 * says where answers fall apart, as far as there is one. */
function first(curves) {
  const used = curves.filter(({ in_use }) => in_use);
  const scored = ({ sweeps }) => Object.values(sweeps).some(({ judge }) => judge.scored);
  const apart = ({ sweeps }) => Object.values(sweeps).some(({ collapse }) => collapse != null);
  return [used.filter(scored).find(apart) ?? used.find(scored) ?? used.find(apart) ?? used[0] ?? curves[0]].filter(Boolean);
}

function nearest(versions, x) {
  const rows = rowsOf(versions).sort((a, b) => Math.abs(a.x - x) - Math.abs(b.x - x));
  return x === 0 || !rows.length ? { version: versions[0], x: 0 } : { version: rows[0].version, x: rows[0].x };
}

function Choice({ curves, shown, choose }) {
  const ids = shown.map(({ id }) => id);
  const others = curves.filter(({ id }) => !ids.includes(id));
  const made = (version) => (version.live ? "being measured" : version.created.slice(0, 16).replace("T", " "));
  const label = (version) => `${nameOf(version)}, ${made(version)}${version.in_use ? "" : ", not in use"}`;
  return html`
    <ul class="curve-list">
      ${shown.map((version, i) => html`
        <li key=${version.id}>
          ${colourOf(shown, i) && html`<span class="line-key" style=${{ "--key": `var(--${colourOf(shown, i)})` }} aria-hidden="true"></span>`}
          <span class="curve-name" dir="auto" title=${version.id}>${label(version)}</span>
          ${shown.length > 1 && html`<${Button} kind="quiet" label=${`Remove ${nameOf(version)}`} onClick=${() => choose(ids.filter((id) => id !== version.id))}>×</${Button}>`}
        </li>`)}
    </ul>
    ${others.length > 0 && html`<div class="row choice">
      <${SelectField} label="Show" value=${ids.length > 1 ? "" : ids[0]} options=${[...(ids.length > 1 ? [["", "one curve alone"]] : []), ...curves.map((version) => [version.id, label(version)])]} onChange=${(id) => id && choose([id])} />
      ${shown.length < MOST_CURVES && html`<${SelectField} label="Lay over" value="" options=${[["", "add a curve"], ...others.map((version) => [version.id, label(version)])]} onChange=${(id) => id && choose([...ids, id])} />`}
    </div>`}
  `;
}

/** How far is too far, and what a strength of 1 does, in words. */
function Limits({ shown }) {
  const found = shown.flatMap((version, i) => limitsOf(version).map((limit) => ({ version, key: colourOf(shown, i), ...limit })));
  if (!found.length) return null;
  return html`
    <section class="limits" aria-label="How far is too far">
      ${found.map(({ version, key, side, pole, far, apart, at, more }) => html`
        <div key=${version.id + pole} class=${apart ? "limit apart" : "limit"}>
          <p>${key && html`<span class="line-key" style=${{ "--key": `var(--${key})` }} aria-hidden="true"></span>`}<strong dir="auto">${pole}</strong>${shown.length > 1 ? ` in ${version.model}` : ""} ${far}</p>
          <p class="hint"><${Verdict} pole=${pole} found=${version.poles?.[side]} /></p>
          <p class="hint">${at}</p>
          <details class="hint"><summary>Why 1 is where it is</summary>${more}</details>
        </div>`)}
    </section>
  `;
}

/** What the lines are; each can be left out. */
function Legend({ shown, measures, setMeasures }) {
  const several = shown.length > 1;
  const there = new Set(linesOf(shown, MEASURES.map(({ name }) => name)).map(({ measure }) => measure.name));
  const toggle = (name) => setMeasures(measures.includes(name) ? measures.filter((other) => other !== name) : [...measures, name]);
  return html`
    <fieldset class="measures"><legend class="visually-hidden">Lines</legend>
      ${MEASURES.map(({ name, title, colour, dash }) => html`
        <label class=${`check ${there.has(name) ? "" : "muted"}`} key=${name}>
          <input type="checkbox" disabled=${!there.has(name)} checked=${there.has(name) && measures.includes(name)} onChange=${() => toggle(name)} />
          <svg class="line-key" viewBox="0 0 36 8" aria-hidden="true"><line x1="0" y1="4" x2="36" y2="4" stroke=${`var(--${several ? "ink" : colour})`} stroke-width="2" stroke-dasharray=${dash?.join(" ")} /></svg>
          ${title}${there.has(name) ? "" : " (no figures)"}
        </label>`)}
    </fieldset>
  `;
}

function Curves({ shown, measures, onPick, setAt }) {
  const frame = useRef(null);
  const several = shown.length > 1;
  const name = several ? "curves" : shown[0].id;
  const table = useMemo(() => ({
    caption: "Measured at each coefficient",
    rows: rowsOf(shown),
    keyOf: ({ version, x }) => version.id + x,
    columns: [
      ...(several ? [{ title: "Curve", cell: ({ version }) => nameOf(version) }] : []),
      { title: "Coefficient", number: true, cell: ({ x }) => signed(x) },
      { title: "Pole", cell: ({ version, side }) => version[side] },
      { title: "Dose", number: true, cell: ({ dose }) => dose.toFixed(2) },
      { title: "Trait", number: true, cell: ({ trait }) => interval(trait) },
      { title: "Coherence", number: true, cell: ({ coherence }) => interval(coherence) },
      { title: "Facts right, %", number: true, cell: ({ facts }) => interval(facts) },
      { title: "Unfinished, %", number: true, cell: ({ unfinished }) => interval(unfinished) },
      { title: "Looping, %", number: true, cell: ({ looping }) => interval(looping) },
      { title: "Wrong way, %", number: true, cell: ({ wrong }) => interval(wrong) },
      { title: "Random direction", number: true, cell: ({ random }) => interval(random) },
      { title: "Wrong trait", number: true, cell: ({ wrongtrait }) => interval(wrongtrait) },
      { title: "Answers", number: true, cell: ({ n }) => n },
      { title: "", cell: ({ version, x }) => html`<${Button} kind="quiet" label=${`Ask ${version.model} at ${signed(x)}`} onClick=${() => setAt({ version, x })}>Ask</${Button}>` },
    ],
  }), [shown]);
  const csv = () => save(new Blob([csvOf(shown)], { type: "text/csv" }), `${name}.csv`);
  const svg = ({ model, trait, id }) => saveFrom(`api/vectors/${model}/${trait}/${id}/curve.svg`, `${id}.svg`);
  const png = async () => save(await pngOf(frame.current.querySelector("canvas")), `${name}.png`);
  const alike = shown.every(({ trait }) => trait === shown[0].trait);
  const ends = alike ? [shown[0].negative, shown[0].positive] : ["negative pole", "positive pole"];
  return html`
    <div ref=${frame}>
      <div class="curve-ends" aria-hidden="true"><span dir="auto">← ${ends[0]}</span><span class="muted">click a point to ask there</span><span dir="auto">${ends[1]} →</span></div>
      <${Picture} label=${`Curves of ${shown.map(nameOf).join("; ")} over the coefficient. The same figures are in the table below.`} versions=${shown} measures=${measures} table=${table} onPick=${onPick} />
    </div>
    ${several && html`<p class="hint">Upright dashes: from there on that curve's answers fall apart.</p>`}
    <div class="row curve-files">
      <${Button} onClick=${png}>PNG</${Button}><${Button} onClick=${csv}>CSV</${Button}>
      ${shown.filter(({ live }) => !live).map((version) => html`<${Button} key=${version.id} label=${`SVG of ${nameOf(version)}`} onClick=${() => svg(version)}>SVG${several ? ` of ${nameOf(version)}` : ""}</${Button}>`)}
    </div>
  `;
}

function Words() {
  return html`
    <details class="words"><summary>What the lines mean</summary><dl>
      ${MEASURES.map(({ name, title, says }) => html`<dt key=${name}>${title}</dt><dd>${says}</dd>`)}
      <dt>Band, and figures in brackets</dt><dd>A 95 % interval: where the mean would be, had other questions been asked. A band without width means that all answers agreed.</dd>
      <dt>Falls apart</dt><dd>From there on, coherence or facts are for certain below 95 % of the unsteered answers'. Facts don't count for a pole that asks for falsehood, such as dishonest: its answers may hold together while few facts are right.</dd>
    </dl></details>
    <details class="words"><summary>Words of the prototype</summary><dl>
      <dt>Thermostat effect</dt><dd>The trait follows the coefficient, up on one side and down on the other: the line <em>trait</em>.</dd>
      <dt>Coherence</dt><dd>Whether an answer makes sense, from 0 to 100: the line <em>coherence</em>.</dd>
      <dt>Ethical stance</dt><dd>How far answers lean to a pole such as honest or dishonest: the line <em>trait</em> of such a trait.</dd>
      <dt>Projection</dt><dd>How far the inside of the model lies towards a pole. Play shows it for each answer and token.</dd>
    </dl></details>
  `;
}

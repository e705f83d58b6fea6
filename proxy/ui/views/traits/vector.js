// One persona vector: its figures by block, its versions, which is in use, files of it, and its end.
import { call, get, post } from "../../api.js";
import { Button, Delete, Notice, SelectField } from "../../components/controls.js";
import { start } from "../../components/jobs.js";
import { saveFrom } from "../../components/save.js";
import { HeatMap, Table } from "../../components/table.js";
import { html, useEffect, useState } from "../../html.js";
import { announce, link, refresh, vectors } from "../../store.js";
import { signed } from "../play/words.js";

const FORMATS = [["safetensors", "safetensors, with all that is known"], ["gguf", "GGUF, a control vector"], ["paper", "the paper's .pt"], ["hotwire", "hotwire"], ["prototype", "the prototype's"]];
const SPANS = { last_prompt: "last prompt token", response: "answer" };

const pathOf = ({ model, trait, id }) => `api/vectors/${model}/${trait}/${id}`;

/** The address of a persona and its opposite in Play. */
export const inPlay = (model, positive) => link("play", [["model", model], ["persona", positive], ...[-1, 0, 1].map((at) => ["c", `${positive}:${at}`])]);

/** The vector of a trait in a model that is in use, and its other versions. */
export function VectorDetails({ model, trait }) {
  const [versions, setVersions] = useState(null);
  const [chosen, choose] = useState("");
  const [error, setError] = useState(null);
  useEffect(() => {
    get(`api/vectors/${model}/${trait}`).then(({ data }) => setVersions(data), setError);
  }, [model, trait, vectors.value]);
  const attempt = (work, done) => work().then(() => { setError(null); announce(done); return refresh(); }, setError);
  if (!versions) return error && html`<${Notice} kind="error">${error.message}</${Notice}>`;
  const version = versions.find(({ id }) => id === chosen) ?? versions.find(({ in_use }) => in_use) ?? versions[0];
  if (!version) return null;
  return html`
    <section class="vector" aria-label=${`Vector of ${trait} in ${model}`}>
      <div class="vector-head">
        <h2 dir="auto">${version.positive} / ${version.negative} in ${model}</h2>
        <a class="button primary" href=${inPlay(version.model, version.positive)}>Try it in Play</a>
        <a class="button" href=${link("thermostat", [["v", version.id]])}>${Object.keys(version.sweeps).length ? "See its curve" : "Measure its curve"}</a>
      </div>
      ${error && html`<${Notice} kind="error" live>${error.message}</${Notice}>`}
      <${Versions} versions=${versions} shown=${version} choose=${choose} attempt=${attempt} />
      <${Blocks} version=${version} />
      <${Files} version=${version} />
    </section>
  `;
}

const place = (choice) => (choice ? `block ${choice.block}, dose ${choice.relative_dose.toFixed(2)}, ${choice.measured_range ? `measured to ${signed(choice.measured_range[1])}` : "range not measured"}${choice.score == null ? "" : `, score ${choice.score.toFixed(2)}`}` : "not measured");

function Versions({ versions, shown, choose, attempt }) {
  return html`<${Table} caption="Versions" rows=${versions} columns=${[
    { title: "Made", cell: (version) => html`<span title=${version.id}>${version.created.slice(0, 16).replace("T", " ")}</span>` },
    { title: "Origin", cell: ({ origin, transfer }) => (transfer ? `${origin} from ${transfer.source_model}` : origin) },
    { title: "Positive pole", cell: ({ poles }) => place(poles.positive) },
    { title: "Negative pole", cell: ({ poles }) => place(poles.negative) },
    { title: "Judge", cell: ({ judge }) => (judge ? `${judge.name}, AUROC ${judge.auroc.toFixed(2)}${judge.scored ? "" : ": unscored"}` : "not known") },
    { title: "State", cell: ({ note }) => note.split(/;/)[0] },
    { title: "", cell: (version) => html`<div class="row">
      ${version.id === shown.id ? html`<span class="muted">shown</span>` : html`<${Button} kind="quiet" label=${`Show ${version.id}`} onClick=${() => choose(version.id)}>Show</${Button}>`}
      ${!version.in_use && html`<${Button} kind="quiet" label=${`Use ${version.id}`} onClick=${() => attempt(() => post(`${pathOf(version)}/use`), "In use now.")}>Use</${Button}>`}
      ${version.origin === "imported" && !version.poles.positive && html`<${Button} kind="quiet" label=${`Measure ${version.id}`} onClick=${() => attempt(() => start("api/vectors/measure", { model: version.model, trait: version.trait, version: version.id }), "Measuring.")}>Measure</${Button}>`}
      <${Delete} of=${version.id} onDelete=${() => attempt(() => call("DELETE", pathOf(version)), "Deleted.")} />
    </div>` },
  ]} />`;
}

/** Heat maps over the blocks; the chosen places are framed. */
function Blocks({ version }) {
  const blocks = Array.from({ length: version.n_layers }, (_, i) => String(i));
  const maps = [
    { caption: "Separation: how well a block tells the poles apart (AUROC)", figures: version.separation, range: [0.5, 1], title: (span) => SPANS[span] ?? span, marked: (span, c) => Object.values(version.poles).some((choice) => choice.span === span && choice.block === c) },
    { caption: "Gain: how much likelier steering here makes the pole's answers", figures: version.gains, title: (side) => version[side], marked: (side, c) => version.poles[side]?.block === c },
    { caption: "Effect: what steering here was seen to do", figures: version.effects, range: [0, 1], title: (side) => version[side], marked: (side, c) => version.poles[side]?.block === c },
  ];
  return html`<div class="heat-maps">${maps.map(({ caption, figures, range, title, marked }) => {
    const names = Object.keys(figures);
    const known = names.flatMap((name) => figures[name]).filter((value) => value != null);
    if (!known.length) return null;
    return html`<${HeatMap} key=${caption} caption=${caption} rows=${names.map(title)} columns=${blocks} value=${(r, c) => figures[names[r]][c]} range=${range ?? [Math.min(...known), Math.max(...known)]} chosen=${(r, c) => marked(names[r], c)} />`;
  })}</div>`;
}

function Files({ version }) {
  const [format, setFormat] = useState("safetensors");
  const [pole, setPole] = useState("positive");
  const [error, setError] = useState(null);
  const whole = format === "safetensors";
  const download = () => {
    const query = new URLSearchParams({ format, ...(!whole && { pole: version[pole] }) });
    saveFrom(`${pathOf(version)}/download?${query}`).then(() => setError(null), setError);
  };
  return html`
    <div class="row files">
      <${SelectField} label="Export as" value=${format} options=${FORMATS} onChange=${setFormat} error=${error?.message} />
      ${!whole && html`<${SelectField} label="Pole" value=${pole} options=${[["positive", version.positive], ["negative", version.negative]]} onChange=${setPole} />`}
      <${Button} onClick=${download}>Download</${Button}>
    </div>
  `;
}

// Traits and vectors: what there is for each model and pole, traits of one's own, files that come in.
import { post } from "../api.js";
import { Button, Notice, SelectField, TextField } from "../components/controls.js";
import { Jobs } from "../components/jobs.js";
import { Table } from "../components/table.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { address, keepInAddress, modelOf, models, refresh, traits, vectorOf } from "../store.js";
import { model as played } from "./play/state.js";
import { signed } from "./play/words.js";
import { KINDS, Making, failureOf, makingOf } from "./traits/making.js";
import { OwnTrait, Parts } from "./traits/own.js";
import { VectorDetails, inPlay } from "./traits/vector.js";

const MANY = 12; // traits, from which on they are looked for by name

/** What there is of a trait in a model, in words, pole by pole. */
function stateOf(model, trait) {
  const vector = vectorOf(model, trait.id);
  if (makingOf(model, trait.id)) return "being made";
  const failed = failureOf(model, trait.id);
  if (!vector) return failed ? "no vector: making it failed" : "no vector";
  if (vector.usable === false) return "for other weights";
  const poles = ["positive", "negative"].map((side) => {
    const choice = vector.poles[side];
    const range = choice?.measured_range ? `up to ${signed(choice.measured_range[1])}` : "range not measured";
    return `${vector[side]} ${choice ? range : "not measured"}`;
  });
  const how = [failed && "making it anew failed", vector.origin !== "native" && vector.origin, vector.judge && !vector.judge.scored && "unscored"].filter(Boolean);
  return [...how, ...poles].join(" · ");
}

export function View() {
  const { params } = address.peek();
  const [chosen, choose] = useState({ trait: params.get("trait"), model: params.get("model") });
  useEffect(() => keepInAddress("traits", Object.fromEntries(Object.entries(chosen).filter(([, value]) => value))), [chosen]);
  const trait = traits.value.find(({ id }) => id === chosen.trait);
  const model = chosen.model ?? modelOf(played.value)?.id ?? models.value[0]?.id;
  const [said, setSaid] = useState("");
  const [name, setName] = useState("");
  const panel = useRef(null);
  const picked = useRef(false);
  const pick = (next) => {
    picked.current = true;
    setSaid("");
    choose(next);
  };
  useEffect(() => {
    if (trait && picked.current) panel.current.focus();
  }, [trait?.id, model]);
  const found = traits.value.filter(({ id, positive, negative }) => [id, positive, negative].some((text) => text.includes(name.trim().toLowerCase())));
  const cell = (of) => (row) => html`<${Button} kind="quiet" label=${`${stateOf(of, row)}: ${row.id} in ${of}`} aria-pressed=${row.id === chosen.trait && of === model ? "true" : "false"} onClick=${() => pick({ trait: row.id, model: of })}>${stateOf(of, row)}</${Button}>`;
  const gone = (text) => {
    choose({ trait: null, model });
    setSaid(text);
  };
  const has = Boolean(trait && vectorOf(model, trait.id));
  const next = (job) => {
    const positive = traits.value.find(({ id }) => id === job.parameters.trait)?.positive;
    return positive && html`<a class="button" href=${inPlay(job.model, positive)}>Try it in Play</a>`;
  };
  return html`
    <h1 tabindex="-1">Traits and vectors</h1>
    <p class="lead">A trait is a pair of opposite poles. Each model needs a vector of its own for it. Choose a cell to see it, or to make it. Where it says <em>up to</em>, answers held together up to that strength.</p>
    ${traits.value.length > MANY && html`<div class="find"><${TextField} label=${`Find one of ${traits.value.length} traits`} value=${name} onInput=${setName} /></div>`}
    <div class="states"><${Table} caption="Vectors by trait and model" rows=${found} empty=${name ? "No trait has such a name." : "No trait is known."} columns=${[
      { title: "Trait", cell: (row) => html`<strong>${row.positive}</strong> / <strong>${row.negative}</strong>${row.built_in ? "" : html` <span class="muted">${row.id === row.positive ? "own" : `${row.id}, own`}</span>`}` },
      ...models.value.map(({ id }) => ({ title: id, cell: cell(id) })),
    ]} /></div>
    ${trait && html`
      <div class="panel chosen-trait" tabindex="-1" ref=${panel}>
        ${has ? html`<${VectorDetails} key=${model + trait.id} model=${model} trait=${trait.id} />` : html`<h2 dir="auto">${trait.positive} / ${trait.negative} in ${model}</h2><p>${makingOf(model, trait.id) ? "The vector is being made." : "This model has no vector for this trait yet."}</p>`}
        <${Making} key=${trait.id + model} trait=${trait} model=${model} again=${has} next=${next} onStart=${() => panel.current.focus({ preventScroll: true })} />
        <${Parts} key=${trait.id} id=${trait.id} onGone=${gone} />
      </div>`}
    <p role="status">${said}</p>
    <${Jobs} kinds=${KINDS} next=${next} of=${(job) => !(job.model === model && job.parameters.trait === trait?.id)} />
    <h2>A trait of your own</h2>
    <${OwnTrait} onMade=${(id) => pick({ trait: id, model })} />
    <h2>Import a vector</h2>
    <${Import} />
  `;
}

function Import() {
  const [model, setModel] = useState("");
  const [trait, setTrait] = useState("");
  const [error, setError] = useState(null);
  const [said, setSaid] = useState("");
  const take = async (file) => {
    if (!file) return;
    const query = new URLSearchParams(Object.entries({ model, trait }).filter(([, value]) => value));
    try {
      const made = await post(`api/vectors/import?${query}`, file);
      setError(null);
      setSaid(`${made.id} is here: ${made.note}.`);
      await refresh();
    } catch (refused) {
      setError(refused);
    }
  };
  const drop = (event) => {
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  };
  return html`
    <div class="drop" onDragOver=${(event) => event.preventDefault()} onDrop=${drop}>
      <div class="row">
        <${SelectField} label="For the model" value=${model} options=${[["", "as the file says"], ...models.value.map(({ id }) => id)]} onChange=${setModel} />
        <${SelectField} label="For the trait" value=${trait} options=${[["", "as the file says"], ...traits.value.map(({ id }) => id)]} onChange=${setTrait} />
        <label class="file">File, or drop it here <input type="file" onChange=${({ target }) => take(target.files[0])} /></label>
      </div>
      ${error && html`<${Notice} kind="error" live>${error.message}</${Notice}>`}
      <p role="status" class="hint">${said}</p>
    </div>
  `;
}

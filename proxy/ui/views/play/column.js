// One column of Play: who answers, the conversation, and what was done, below it.
import { Button, Notice, SelectField, TextField } from "../../components/controls.js";
import { Strength } from "../../components/strength.js";
import { Verdict } from "../../components/verdict.js";
import { html, useState } from "../../html.js";
import { link, modelOf, models, personasOf, role, vectorOf } from "../../store.js";
import { Answer } from "./answer.js";
import { CopyAs } from "./copy_as.js";
import { foundAt, measuredFor } from "./measured.js";
import { answer, requestOf, stop } from "./run.js";
import { addColumn, asked, choices, colour, colouredBy, columns, modelIn, oppositeOf, polesOf, removeColumn, traitOf, unanswered } from "./state.js";
import { otherwise, signed, title, verdict } from "./words.js";

const SETTLE_MS = 350; // a slider that rests so long has been moved
const SEEDS = 1_000_000;
const WAYS = [["vector", "Persona vector"], ["prompt", "System prompt"], ["random", "Random direction, same dose"]];
const timers = new Map();

/** Asks a column's last question anew, as it is now. */
export function again(col) {
  col.talk.value = unanswered(col.talk.peek());
  return answer(col);
}

function soon(col) {
  clearTimeout(timers.get(col));
  timers.set(col, setTimeout(() => again(col), SETTLE_MS));
}

export function Column({ col }) {
  const id = `column-${col.id}`;
  const [editing, setEditing] = useState(null);
  const running = Boolean(col.running.value);
  const status = modelOf(modelIn(col))?.status;
  const talk = col.talk.value;
  const last = talk.at(-1);
  const opposite = (name) => oppositeOf(col, name);
  return html`
    <section class="column panel" aria-labelledby=${id} aria-busy=${running ? "true" : "false"}>
      <header class="column-head">
        <div>
          <h2 id=${id}>${title(col.personas.value, col.by.value)}</h2>
          <p class="muted">${[otherwise(col.personas.value, opposite), modelIn(col)].filter(Boolean).join(" · ")}</p>
        </div>
        ${columns.value.length > 1 && html`<${Button} kind="quiet" label="Remove this column" onClick=${() => removeColumn(col)}>×</${Button}>`}
      </header>
      <${Who} col=${col} />
      <div class="talk">
        ${talk.map((message, i) => html`<${Message} key=${i} col=${col} message=${message} index=${i} pending=${running && i === talk.length - 1} editing=${editing === i} onEdit=${setEditing} />`)}
        ${last?.role === "user" && (status === "loading" || status === "unloaded") && !col.error.value && html`<p class="muted waiting">${modelIn(col)} is being loaded; it answers as soon as it is ready.</p>`}
        <${Failure} col=${col} />
      </div>
      <${Actions} col=${col} running=${running} last=${last} onEdit=${() => setEditing(talk.length - 1)} />
      <${Figures} model=${modelIn(col)} message=${talk.findLast((message) => message.role === "assistant")} poles=${polesOf(col)} running=${running} />
    </section>
  `;
}

/** Sliders, and what else makes the column what it is. */
function Who({ col }) {
  const change = (personas) => {
    col.personas.value = personas;
    soon(col);
  };
  const others = choices(modelIn(col)).filter(({ name, opposite }) => !(name in col.personas.value) && !(opposite in col.personas.value));
  const add = (name) => name && change({ ...col.personas.value, [name]: 0.5 });
  const without = (name) => Object.fromEntries(Object.entries(col.personas.value).filter(([other]) => other !== name));
  const set = (part, value) => {
    part.value = value;
    soon(col);
  };
  return html`
    ${Object.entries(col.personas.value).map(([name, value], i, all) => html`
      <${Strength} key=${name} name=${name} value=${value} opposite=${oppositeOf(col, name)}
        ...${measuredFor(modelIn(col), name)} error=${errorOf(col, name, i)}
        onInput=${(number) => change({ ...col.personas.value, [name]: number })}
        onRemove=${all.length > 1 && (() => change(without(name)))} />
      <${Worth} key=${`${name} worth`} model=${modelIn(col)} name=${value < 0 ? oppositeOf(col, name) : name} />`)}
    <details class="column-more">
      <summary>More for this column</summary>
      ${others.length > 0 && html`<${SelectField} label="Add a persona" value="" onChange=${add} options=${[["", "Choose …"], ...others.map(({ name, opposite }) => [name, opposite ? `${name} / ${opposite}` : name])]} />`}
      <${SelectField} label="Steered by" value=${col.by.value} options=${WAYS} onChange=${(value) => set(col.by, value)} />
      <${SelectField} label="Model" value=${col.of.value} options=${[["", "That of all columns"], ...models.value.map(({ id }) => id)]} onChange=${(value) => set(col.of, value)} />
    </details>
  `;
}

/** What the pole that is steered to was found to be worth. */
function Worth({ model, name }) {
  const found = personasOf(model).find((persona) => persona.name === name)?.choice;
  return found?.verdict && html`<p class="hint"><${Verdict} pole=${name} found=${found} /></p>`;
}

/** A refusal that is about a persona or its coefficient stands at its slider. */
function errorOf(col, name, index) {
  const { param, message, code } = col.error.value ?? {};
  if (code === NO_VECTOR) return null;
  if (param === `persona.${name}`) return message;
  return index === 0 && (param === "persona" || param === "coefficient") ? message : null;
}

const NO_VECTOR = "vector_unavailable";
const atSlider = (param) => /^(persona|coefficient)\b/.test(param ?? "");
export const atOption = (param) => ["temperature", "seed", "max_tokens"].includes(param);

function Failure({ col }) {
  const error = col.error.value;
  if (error?.code === NO_VECTOR) return html`<${NoVector} col=${col} />`;
  if (!error || (atSlider(error.param) && Object.keys(col.personas.value).length)) return null;
  if (atOption(error.param)) return html`<p class="muted">Not asked: see the settings above.</p>`;
  return html`<${Notice} kind="error" live>${error.message} <${Button} onClick=${() => again(col)}>Try again</${Button}></${Notice}>`;
}

/** What to do about a persona that the model can't be steered to yet. */
function NoVector({ col }) {
  const missing = Object.keys(col.personas.value).filter((name) => !personasOf(modelIn(col)).some((other) => other.name === name));
  const trait = traitOf(missing[0]);
  const unmeasured = trait && vectorOf(modelIn(col), trait.id); // an imported one
  const byPrompt = () => {
    col.by.value = "prompt";
    again(col);
  };
  return html`
    <${Notice} live>
      ${unmeasured ? `How strong the vector for ${missing[0]} is in ${modelIn(col)} was never measured.` : `${modelIn(col)} has no vector for ${missing.join(" and ") || "this persona"} yet.`}
      ${role.value === "admin" && html` <a href=${link("traits", trait ? { trait: trait.id, model: modelIn(col) } : {})}>${unmeasured ? "See Traits" : "Make one"}</a>`}
      <${Button} onClick=${byPrompt}>Use a system prompt</${Button}>
    </${Notice}>
  `;
}

function Message({ col, message, index, pending, editing, onEdit }) {
  if (editing) return html`<${Draft} col=${col} message=${message} index=${index} onEnd=${() => onEdit(null)} />`;
  if (message.role === "user") return html`<div class="question"><span dir="auto">${message.content}</span><${Button} kind="quiet" label="Edit question" onClick=${() => onEdit(index)}>Edit</${Button}></div>`;
  return html`
    ${message.reasoning && html`<details class="reasoning"><summary>Reasoning</summary><div dir="auto">${message.reasoning}</div></details>`}
    ${message.content
      ? html`<${Answer} message=${message} poles=${polesOf(col)} by=${colour.value === "off" ? null : colouredBy(col)} onFork=${(text) => fork(col, index, text)} />`
      : pending && html`<p class="muted waiting">${modelOf(modelIn(col))?.status === "ready" ? "…" : `${modelIn(col)} is being loaded for this …`}</p>`}
    ${message.complete && html`<p class="muted waiting">Complete: the model adds nothing to it.</p>`}
    ${message.finish === "length" && !pending && html`<p class="muted waiting">Cut at its length; Continue goes on.</p>`}
  `;
}

function Draft({ col, message, index, onEnd }) {
  const [text, setText] = useState(message.content);
  const question = message.role === "user";
  const save = (event) => {
    event.preventDefault();
    onEnd();
    edit(col, index, text);
  };
  return html`
    <form class="edit" onSubmit=${save}>
      <${TextField} label=${question ? "Your question" : "The answer"} rows="3" value=${text} onInput=${setText} />
      <div class="row"><${Button} kind="primary" type="submit">${question ? "Ask this" : "Keep"}</${Button}><${Button} onClick=${onEnd}>Cancel</${Button}></div>
    </form>
  `;
}

function edit(col, index, content) {
  const talk = col.talk.peek();
  const { role } = talk[index];
  stop(col);
  col.talk.value = [...talk.slice(0, index), role === "user" ? asked(content) : { role, content, done: true }];
  if (role === "user") answer(col);
}

/** Another answer that begins with this text, in a column beside. */
function fork(col, index, content) {
  const talk = [...col.talk.peek().slice(0, index), { role: "assistant", content }];
  const { personas, by, of, seed } = col;
  answer(addColumn({ personas: personas.peek(), by: by.peek(), of: of.peek(), seed: seed.peek(), talk }, col));
}

function Actions({ col, running, last, onEdit }) {
  const [reply, setReply] = useState(null);
  const send = (event) => {
    event.preventDefault();
    setReply(null);
    col.talk.value = [...col.talk.peek(), asked(reply)];
    answer(col);
  };
  const regenerate = () => {
    col.seed.value = Math.floor(Math.random() * SEEDS);
    again(col);
  };
  if (running) return html`<div class="actions"><${Button} onClick=${() => stop(col)}>Stop</${Button}></div>`;
  return html`
    <div class="actions">
      <${Button} kind="quiet" title="Ask again with another seed" onClick=${regenerate}>Regenerate</${Button}>
      ${last?.role === "assistant" && html`
        <${Button} kind="quiet" title="Go on with this answer" onClick=${() => answer(col)}>Continue</${Button}>
        <${Button} kind="quiet" title="Edit the last answer" onClick=${onEdit}>Edit answer</${Button}>
        <${Button} kind="quiet" title="Go on in this column alone" onClick=${() => setReply("")}>Reply here</${Button}>`}
      <${CopyAs} body=${() => requestOf(col, unanswered(col.talk.value))} />
    </div>
    ${reply !== null && html`
      <form class="edit" onSubmit=${send}>
        <${TextField} label="Go on in this column alone" rows="2" value=${reply} onInput=${setReply} />
        <div class="row"><${Button} kind="primary" type="submit" disabled=${!reply.trim()}>Send</${Button}><${Button} onClick=${() => setReply(null)}>Cancel</${Button}></div>
      </form>`}
  `;
}

/** What was done, in figures and in words. */
function Figures({ model, message, poles, running }) {
  const report = message?.report;
  const read = poles.filter((pole) => report?.projection?.[pole] != null);
  const steered = Object.entries(report?.personas ?? {});
  const said = verdict(report, steered.length === 1 ? foundAt(model, ...steered[0]) : {});
  const projections = read.map((pole) => html`<span key=${pole}><span class="muted">${pole}</span> ${signed(report.projection[pole])}</span> `);
  return html`
    <div class="figures">
      <dl>
        <div><dt>Dose</dt><dd>${report ? signed(report.relative_dose) : "–"}</dd></div>
        <div><dt>Projection</dt><dd>${read.length ? projections : "–"}</dd></div>
        <div><dt>Tokens/s</dt><dd>${message?.rate ? Math.round(message.rate) : "–"}</dd></div>
      </dl>
      <p class=${`verdict ${said?.kind ?? ""}`}>${said?.text ?? (running ? "Answering …" : "Not asked yet.")}</p>
      ${report?.max_tokens != null && html`<p class="hint">The model has room for ${report.max_tokens} tokens of an answer, fewer than asked for.</p>`}
    </div>
  `;
}

/** What the figures mean, for all columns at once. */
export function Meanings() {
  return html`
    <details class="meanings">
      <summary>What the figures mean</summary>
      <dl>
        <dt>Strength</dt><dd>The coefficient of a persona: 0 is off, below 0 is the opposite pole. The shaded part of the slider was measured to hold together; a red mark is where answers fell apart.</dd>
        <dt>Dose</dt><dd>How much is added inside the model, as a multiple of the median norm of its own activations there.</dd>
        <dt>Projection</dt><dd>How far the answer's text lies towards a pole, as the model without steering sees it: 0 is its neutral mean, 1 the pole's own mean.</dd>
        <dt>Tokens/s</dt><dd>As they arrived in this page, with all columns at work.</dd>
      </dl>
    </details>
  `;
}

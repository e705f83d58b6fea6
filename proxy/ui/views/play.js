// Play: one question, several personas side by side, answering at once.
import { Button, Notice, NumberField, SelectField, TextField } from "../components/controls.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { address, connection, modelOf, models, personasOf, role, traits } from "../store.js";
import { Legend } from "./play/answer.js";
import { again, atOption, Column, Meanings } from "./play/column.js";
import { answerAll, stopAll } from "./play/run.js";
import { addColumn, asked, begin, choices, choosePersona, colour, columns, model, modelIn, options, oppositeOf, persona, question } from "./play/state.js";

const FURTHER = [0.5, 1.5, -0.5, 2, -1.5, -2]; // strengths to add, the first of which no column has

let begunFor = null; // the address that stands in the columns

/** Whether a column waits to be asked: it ends with a question, or with how an answer shall begin, and its model is there. */
function waits(col) {
  const last = col.talk.value.at(-1);
  const { status, on_demand: onDemand } = modelOf(modelIn(col)) ?? {};
  const there = status === "ready" || (status === "unloaded" && onDemand);
  return there && last && !last.done && !(last.role === "assistant" && last.tokens) && !col.running.value && !col.error.value;
}

export function View() {
  useEffect(() => {
    if (models.value.length && begunFor !== address.value && (address.value.view || "play") === "play") {
      begin();
      begunFor = address.value;
    }
    const waiting = columns.value.filter(waits);
    if (waiting.length) answerAll(waiting);
  }, [models.value, address.value]);
  useEffect(() => {
    if (connection.value === "ok") columns.value.filter((col) => col.error.value?.status === 0).forEach(again);
  }, [connection.value]);
  return html`
    <h1 tabindex="-1">Play</h1>
    <p class="lead">One question, one model, several strengths of a persona. Move a slider, and its column answers anew.</p>
    <${Composer} />
    <${Bar} />
    <${Columns} />
  `;
}

function Composer() {
  const [further, setFurther] = useState(null);
  const form = useRef(null);
  useEffect(() => form.current?.querySelector("textarea").focus(), [further !== null]);
  const ask = (event) => {
    event?.preventDefault();
    for (const col of columns.value) col.talk.value = [asked(question.value)];
    answerAll(columns.value);
  };
  const followUp = (event) => {
    event.preventDefault();
    for (const col of columns.value) col.talk.value = [...col.talk.value, asked(further)];
    setFurther(null);
    answerAll(columns.value);
  };
  const enter = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) ask(event);
  };
  const running = columns.value.some((col) => col.running.value);
  const answered = columns.value.some((col) => col.talk.value.at(-1)?.role === "assistant");
  return html`
    <form class="composer" onSubmit=${ask}>
      <${TextField} label="Question" hideLabel rows="2" placeholder="Ask all columns" value=${question.value} onInput=${(text) => (question.value = text)} onKeyDown=${enter} />
      <div class="composer-actions">
        ${running
          ? html`<${Button} onClick=${stopAll}>Stop all</${Button}>`
          : html`<${Button} kind="primary" type="submit" disabled=${!columns.value.length} title="Ask all columns, each from the start">Ask</${Button}>`}
        <${Button} disabled=${running || !answered} title="Go on with every conversation" onClick=${() => setFurther("")}>Follow up</${Button}>
      </div>
    </form>
    ${further !== null && html`
      <form class="edit follow-up" ref=${form} onSubmit=${followUp}>
        <${TextField} label="Go on in all columns" rows="2" value=${further} onInput=${setFurther} />
        <div class="row"><${Button} kind="primary" type="submit" disabled=${running || !further.trim()}>Send to all</${Button}><${Button} onClick=${() => setFurther(null)}>Cancel</${Button}></div>
      </form>`}
  `;
}

function Bar() {
  const [open, setOpen] = useState(false);
  const error = (name) => columns.value.map((col) => col.error.value).find((found) => found?.param === name)?.message;
  const pick = (name) => choosePersona(name).forEach(again);
  const pickModel = (id) => {
    model.value = id;
    if (!choices(id).some(({ name }) => name === persona.value) && choices(id).length) choosePersona(choices(id)[0].name);
    columns.value.filter((col) => !col.of.value).forEach(again);
  };
  const set = (name, value) => {
    options.value = { ...options.value, [name]: value };
  };
  const personas = choices(model.value).map(({ name, opposite }) => [name, opposite ? `${name} / ${opposite}` : name]);
  const poles = [persona.value, columns.value[0] && oppositeOf(columns.value[0], persona.value)].filter(Boolean);
  const colours = [["own", "the pole steered to"], ...poles, ["off", "nothing"]];
  const failed = columns.value.some((col) => atOption(col.error.value?.param));
  return html`
    <div class="bar">
      <${SelectField} label="Model" value=${model.value} options=${models.value.map(({ id }) => id)} onChange=${pickModel} />
      ${personas.length > 0 && html`<${SelectField} label="Persona" value=${persona.value} options=${personas} onChange=${pick} />`}
      ${personas.length > 0 && html`<${SelectField} label="Colour tokens by" value=${colour.value} options=${colours} onChange=${(value) => (colour.value = value)} />`}
      <${AddColumn} />
      <details class="settings" open=${open || failed} onToggle=${(event) => setOpen(event.currentTarget.open)}>
        <summary>Settings</summary>
        <div class="row">
          <${NumberField} label="Temperature" step="0.1" value=${options.value.temperature} error=${error("temperature")} onInput=${(value) => set("temperature", value)} />
          <${NumberField} label="Seed" step="1" value=${options.value.seed} error=${error("seed")} onInput=${(value) => set("seed", value)} />
          <${NumberField} label="Tokens at most" step="1" value=${options.value.max_tokens} error=${error("max_tokens")} onInput=${(value) => set("max_tokens", value)} />
          <${Button} onClick=${() => columns.value.forEach(again)}>Ask with these</${Button}>
        </div>
      </details>
    </div>
    ${colour.value !== "off" && persona.value && html`<${Legend} pole=${colour.value === "own" ? "" : colour.value} />`}
  `;
}

function AddColumn() {
  const menu = useRef(null);
  const known = choices(model.value);
  const others = known.filter(({ name }) => name !== persona.value).map(({ name, opposite }) => [name, opposite ? `${name} / ${opposite}` : name]);
  const able = ({ id }) => personasOf(id).some(({ name }) => name === persona.value);
  const otherModels = models.value.filter(({ id }) => id !== model.value).sort((a, b) => able(b) - able(a));
  const taken = columns.value.map((col) => col.personas.value[persona.value]);
  const strength = FURTHER.find((each) => !taken.includes(each)) ?? FURTHER[0];
  const close = () => {
    menu.current.open = false;
  };
  const add = (given) => {
    close();
    const [first] = columns.value;
    const talk = (first?.talk.value ?? [asked(question.value)]).filter(({ role: who }) => who === "user").slice(0, 1);
    again(addColumn({ ...given, talk }));
  };
  const here = { [persona.value]: 1 };
  return html`
    <details class="menu" ref=${menu} onKeyDown=${(event) => event.key === "Escape" && close()} onFocusOut=${({ relatedTarget: next }) => next && !menu.current.contains(next) && close()}>
      <summary class="button">Add a column</summary>
      <div class="menu-items">
        ${persona.value && html`
          <${Button} kind="quiet" onClick=${() => add({ personas: { [persona.value]: strength } })}>Another strength of ${persona.value}</${Button}>
          <${Button} kind="quiet" onClick=${() => add({ personas: here, by: "prompt" })}>The system prompt</${Button}>
          <${Button} kind="quiet" onClick=${() => add({ personas: here, by: "random" })}>A random direction, same dose</${Button}>`}
        <${Button} kind="quiet" onClick=${() => add({})}>The model as it is</${Button}>
        ${others.length > 0 && html`<${SelectField} label="Another persona" value="" options=${[["", "Choose …"], ...others]} onChange=${(name) => name && add({ personas: { [name]: 1 } })} />`}
        ${otherModels.length > 0 && html`<${SelectField} label="Another model" value="" options=${[["", "Choose …"], ...otherModels.map((other) => [other.id, persona.value && !able(other) ? `${other.id}, no vector for ${persona.value}` : other.id])]} onChange=${(id) => id && add({ personas: persona.value ? here : {}, of: id })} />`}
      </div>
    </details>
  `;
}

function Columns() {
  if (role.value === "unknown") return html`<div class="columns" aria-hidden="true">${[1, 2, 3].map((n) => html`<div class="column panel skeleton" key=${n}></div>`)}</div>`;
  if (!models.value.length) return html`<p class="empty">This server has no model yet.</p>`;
  const bare = model.value && modelOf(model.value)?.status === "ready" && !choices(model.value).length;
  return html`
    ${bare && html`<${Notice}>${model.value} has no persona vector yet. ${traits.value.length > 0 && html`<a href="#/traits">Make one</a>`}</${Notice}>`}
    <div class="columns">${columns.value.map((col) => html`<${Column} key=${col.id} col=${col} />`)}</div>
    <${Meanings} />
  `;
}

// The small parts that views are built of: buttons, fields, notices, tabs. They know nothing of the API.
import { html, useId, useRef, useState } from "../html.js";

/** `kind`: "primary" (one in a view), "quiet", "danger", or none. `label` is the name of one that shows a sign alone, and
 * else begins with its text; `title` says more of what it does. */
export function Button({ kind = "", label, title = label, type = "button", children, ...rest }) {
  return html`<button type=${type} class=${`button ${kind}`} aria-label=${label} title=${title} ...${rest}>${children}</button>`;
}

/** A button that deletes what `of` names, and asks once more before. */
export function Delete({ of, onDelete }) {
  const [asked, ask] = useState(false);
  if (!asked) return html`<${Button} kind="quiet" label=${`Delete ${of}`} onClick=${() => ask(true)}>Delete</${Button}>`;
  return html`
    <${Button} kind="danger" label=${`Delete for good: ${of}`} onClick=${onDelete}>Delete for good</${Button}>
    <${Button} kind="quiet" label=${`Keep ${of}`} onClick=${() => ask(false)}>Keep</${Button}>
  `;
}

/** A control with its label, hint and error. The child is a function of the properties that tie it to them:
 * ${(props) => html`<input ...${props} />`}. `error` is a text in the server's words, or null. */
export function Field({ label, hint, error, hideLabel = false, children }) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ") || null;
  const props = { id, "aria-describedby": described, "aria-invalid": error ? "true" : null };
  return html`
    <div class=${`field ${error ? "wrong" : ""}`}>
      <label for=${id} class=${hideLabel ? "visually-hidden" : ""}>${label}</label>
      ${children(props)}
      ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
      ${error && html`<p class="error" id=${`${id}-error`} role="alert">${error}</p>`}
    </div>
  `;
}

export function TextField({ label, hint, error, hideLabel, value, onInput, rows, ...rest }) {
  const typed = (event) => onInput(event.target.value);
  return html`
    <${Field} label=${label} hint=${hint} error=${error} hideLabel=${hideLabel}>
      ${(props) => rows
        ? html`<textarea ...${props} rows=${rows} dir="auto" value=${value} onInput=${typed} ...${rest}></textarea>`
        : html`<input ...${props} type="text" dir="auto" value=${value} onInput=${typed} ...${rest} />`}
    </${Field}>
  `;
}

/** `options`: texts, or [value, text]. */
export function SelectField({ label, hint, error, hideLabel, value, options, onChange, ...rest }) {
  const pairs = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  return html`
    <${Field} label=${label} hint=${hint} error=${error} hideLabel=${hideLabel}>
      ${(props) => html`
        <select ...${props} value=${value} onChange=${(event) => onChange(event.target.value)} ...${rest}>
          ${pairs.map(([name, text]) => html`<option key=${name} value=${name} selected=${name === value}>${text}</option>`)}
        </select>`}
    </${Field}>
  `;
}

/** Numbers as they are typed: onInput gets a number, or null where it is empty. Bounds are the server's to hold. */
export function NumberField({ label, hint, error, hideLabel, value, step = "any", onInput, ...rest }) {
  const typed = ({ target }) => onInput(target.value === "" ? null : target.valueAsNumber);
  return html`
    <${Field} label=${label} hint=${hint} error=${error} hideLabel=${hideLabel}>
      ${(props) => html`<input ...${props} type="number" step=${step} value=${value ?? ""} onInput=${typed} ...${rest} />`}
    </${Field}>
  `;
}

/** `text` is a string or a function that makes it. */
export function CopyButton({ text, children = "Copy", ...rest }) {
  const [said, setSaid] = useState("");
  const copy = async () => {
    const copied = await copyText(typeof text === "function" ? text() : text);
    setSaid(copied ? "Copied" : "Select and copy by hand");
    setTimeout(() => setSaid(""), 2000);
  };
  return html`<${Button} kind="quiet" ...${rest} onClick=${copy}><span aria-live="polite">${said || children}</span></${Button}>`;
}

async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  // Without https there is no clipboard but this one.
  const area = Object.assign(document.createElement("textarea"), { value: text });
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

/** `kind`: "info", "warning" or "error". `live` has it read out when it appears. */
export function Notice({ kind = "info", live = false, children }) {
  const mark = { info: "Note", warning: "Attention", error: "Error" }[kind];
  return html`<div class=${`notice ${kind}`} role=${live ? (kind === "error" ? "alert" : "status") : null}><strong class="visually-hidden">${mark}: </strong>${children}</div>`;
}

/** `tabs`: [{name, title, content}], content a function. Arrow keys move between them. */
export function Tabs({ label, tabs, current, onChange }) {
  const id = useId();
  const list = useRef(null);
  const shown = tabs.find(({ name }) => name === current) ?? tabs[0];
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = (tabs.indexOf(shown) + step + tabs.length) % tabs.length;
    onChange(tabs[next].name);
    list.current.children[next].focus();
  };
  return html`
    <div class="tabs" role="tablist" aria-label=${label} ref=${list} onKeyDown=${move}>
      ${tabs.map(({ name, title }) => html`
        <button key=${name} type="button" role="tab" id=${`${id}-${name}`} aria-controls=${`${id}-panel`} aria-selected=${name === shown.name ? "true" : "false"} tabindex=${name === shown.name ? 0 : -1} onClick=${() => onChange(name)}>${title}</button>`)}
    </div>
    <div role="tabpanel" id=${`${id}-panel`} aria-labelledby=${`${id}-${shown.name}`}>${shown.content()}</div>
  `;
}

/** `fraction` from 0 to 1, or null where it is not known. */
export function Progress({ label, fraction }) {
  return html`<div class="progress"><span>${label}</span><progress aria-label=${label} max="1" value=${fraction ?? undefined}></progress>${fraction != null && html`<span class="number">${Math.round(fraction * 100)} %</span>`}</div>`;
}

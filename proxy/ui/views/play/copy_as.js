// A column's request as others would send it: curl, Python, JavaScript, Open WebUI, LibreChat.
import { asCurl, BASE, key } from "../../api.js";
import { Button, CopyButton, Tabs } from "../../components/controls.js";
import { html, useEffect, useRef, useState } from "../../html.js";

const OURS = ["persona", "coefficient", "steering", "continue_final_message"];
const URL_V1 = `${BASE}v1`;
const keyWord = () => (key.value ? "YOUR KEY" : "any");

export const FORMATS = [
  { name: "curl", title: "curl", text: (body) => asCurl({ method: "POST", path: "v1/chat/completions", body }) },
  { name: "python", title: "Python", text: python },
  { name: "javascript", title: "JavaScript", text: javascript },
  { name: "open-webui", title: "Open WebUI", text: openWebUi },
  { name: "librechat", title: "LibreChat", text: libreChat },
];

function parted(body) {
  const entries = Object.entries(body);
  return [entries.filter(([name]) => !OURS.includes(name)), entries.filter(([name]) => OURS.includes(name))];
}

/** A JSON value as Python writes it. */
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, inner]) => `${JSON.stringify(name)}: ${literal(inner)}`).join(", ")}}`;
  return JSON.stringify(value);
}

function python(body) {
  const [theirs, ours] = parted(body);
  return [
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${literal(URL_V1)}, api_key=${literal(keyWord())})`,
    "answer = client.chat.completions.create(",
    ...theirs.map(([name, value]) => `    ${name}=${literal(value)},`),
    `    extra_body=${literal(Object.fromEntries(ours))},`,
    ")",
    "print(answer.choices[0].message.content)",
  ].join("\n");
}

function javascript(body) {
  return [
    'import OpenAI from "openai";',
    "",
    `const client = new OpenAI({ baseURL: ${JSON.stringify(URL_V1)}, apiKey: ${JSON.stringify(keyWord())} });`,
    "const answer = await client.chat.completions.create({",
    ...Object.entries(body).map(([name, value]) => `  ${name}: ${JSON.stringify(value)},`),
    "});",
    "console.log(answer.choices[0].message.content);",
  ].join("\n");
}

/** The model's name with the persona in it, which every program passes on; null for what has no such name. */
function named({ model, persona, coefficient, steering }) {
  if (steering || typeof persona !== "string") return null;
  if (persona === "none") return model;
  return coefficient === 1 ? `${model}:${persona}` : `${model}:${persona}@${coefficient}`;
}

function openWebUi(body) {
  const [, ours] = parted(body);
  const name = named(body);
  return [
    "1. Admin Settings, Connections: add an OpenAI connection.",
    `   URL: ${URL_V1}`,
    `   Key: ${keyWord()}`,
    ...(name
      ? ["2. New chat: choose the model", `   ${name}`, "   (one that is not in the list: add it to the connection's model IDs)"]
      : [`2. Workspace, Models: make a model of ${body.model} with these custom parameters:`, ...ours.map(([field, value]) => `   ${field} = ${JSON.stringify(value)}`)]),
    `3. Admin Settings, Interface: task model ${body.model}`,
  ].join("\n");
}

function libreChat(body) {
  const [, ours] = parted(body);
  const name = named(body);
  return [
    "# librechat.yaml",
    "endpoints:",
    "  custom:",
    '    - name: "Personas"',
    `      apiKey: ${JSON.stringify(keyWord())}`,
    `      baseURL: ${JSON.stringify(URL_V1)}`,
    "      models:",
    `        default: [${JSON.stringify(name ?? body.model)}]`,
    "        fetch: true",
    `      titleModel: ${JSON.stringify(body.model)}`,
    ...(name ? [] : ["      addParams:", ...ours.map(([field, value]) => `        ${field}: ${JSON.stringify(value)}`)]),
  ].join("\n");
}

/** A button that opens them. `body` is a function that makes the request. */
export function CopyAs({ body }) {
  const [open, setOpen] = useState(false);
  const [format, setFormat] = useState(FORMATS[0].name);
  const dialog = useRef(null);
  useEffect(() => {
    if (open) dialog.current?.showModal();
  }, [open]);
  const shown = (text) => html`<pre tabindex="0">${text(body())}</pre>`;
  return html`
    <${Button} kind="quiet" onClick=${() => setOpen(true)}>Copy as …</${Button}>
    ${open && html`
      <dialog ref=${dialog} aria-label="Copy as" onClose=${() => setOpen(false)} class="copy-as">
        <${Tabs} label="Formats" current=${format} onChange=${setFormat} tabs=${FORMATS.map(({ name, title, text }) => ({ name, title, content: () => shown(text) }))} />
        <div class="row end">
          <${CopyButton} kind="primary" text=${() => FORMATS.find(({ name }) => name === format).text(body())}>Copy</${CopyButton}>
          <${Button} onClick=${() => dialog.current.close()}>Close</${Button}>
        </div>
      </dialog>`}
  `;
}

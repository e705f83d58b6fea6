// The page's frame: views by the address after #, theme, skip link, live region, key, connection.
//
// To add a view: write views/NAME.js, which exports `View` (a component without properties), and name it in VIEWS, with
// `admin` where it asks routes that want an admin key.
// Styles go into views/NAME.css, which is linked by itself. A view reads signals of store.js, asks by api.js, is built of
// components/, keeps its state by keepInAddress("NAME", {...}) and reads it back from address.value.params. Its first
// element is <h1 tabindex="-1">. The frame shows its requests as curl below it, and what throws in it.
import { asCurl } from "./api.js";
import { Button, CopyButton, Field, Notice } from "./components/controls.js";
import { html, render, useEffect, useErrorBoundary, useRef, useState } from "./html.js";
import { address, announcement, connection, failure, key, models, refresh, requests, role, useKey } from "./store.js";

const VIEWS = [
  { name: "play", title: "Play", load: () => import("./views/play.js") },
  { name: "traits", title: "Traits", admin: true, load: () => import("./views/traits.js") },
  { name: "thermostat", title: "Thermostat", admin: true, load: () => import("./views/thermostat.js") },
  { name: "transfer", title: "Transfer", admin: true, load: () => import("./views/transfer.js") },
  { name: "server", title: "Server", admin: true, load: () => import("./views/server.js") },
];
const THEMES = ["auto", "light", "dark"];
const FIRST = document.body.dataset.view;

const named = (name) => VIEWS.find((view) => view.name === name) ?? VIEWS.find((view) => view.name === FIRST);

function App() {
  const current = named(address.value.view);
  const [modules, setModules] = useState({});
  const [broken, setBroken] = useState(null);
  useEffect(() => {
    document.title = `${current.title} · Persona proxy`;
    if (!modules[current.name]) {
      current.load().then(
        (module) => setModules((all) => ({ ...all, [current.name]: module })),
        () => setBroken("Part of the page could not be loaded. The server may be gone, or of another version: load the page again."),
      );
    }
  }, [current]);
  const View = modules[current.name]?.View;
  const opened = useRef(current);
  useEffect(() => {
    if (!View || opened.current === current) return;
    opened.current = current;
    scrollTo(0, 0);
    document.querySelector("main h1")?.focus({ preventScroll: true });
  }, [current, View]);
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <${Header} current=${current} />
    <main id="main" tabindex="-1">
      <${Status} />
      ${broken && html`<${Notice} kind="error">${broken}</${Notice}>`}
      ${current.admin && role.value !== "admin" ? html`<${Closed} title=${current.title} />` : View ? html`<${Safe} key=${current.name}><${View} /></${Safe}>` : html`<p class="muted" role="status">Loading …</p>`}
    </main>
    <${Requests} />
    <div class="visually-hidden" aria-live="polite">${announcement.value}</div>
  `;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function Header({ current }) {
  return html`
    <header class="top">
      <a class="name" href="#/play">Persona proxy</a>
      <nav aria-label="Views">
        ${VIEWS.map(({ name, title }) => html`<a href=${`#/${name}`} aria-current=${name === current.name ? "page" : null}>${title}</a>`)}
      </nav>
      <div class="top-end">
        <a href="schema">API</a>
        <${Theme} />
      </div>
    </header>
  `;
}

function Theme() {
  const [theme, setTheme] = useState(localStorage.getItem("persona-proxy-theme") ?? "auto");
  useEffect(() => {
    localStorage.setItem("persona-proxy-theme", theme);
    document.documentElement.dataset.theme = theme;
  }, [theme]);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  return html`<${Button} kind="quiet" title=${`Change to ${next}`} onClick=${() => setTheme(next)}><span aria-hidden="true">◐ </span><span class="visually-hidden">Theme: </span>${{ auto: "Auto", light: "Light", dark: "Dark" }[theme]}</${Button}>`;
}

/** What holds for all views: no connection, a key that is needed, a model that loads or failed. */
function Status() {
  if (connection.value === "gone") return html`<${Notice} kind="warning" live>The server can't be reached. It is asked again every two seconds; what you typed stays.</${Notice}>`;
  if (role.value === "stranger") return html`<${KeyForm} />`;
  if (failure.value) return html`<${Notice} kind="error" live>${failure.value.message} <${Button} onClick=${refresh}>Try again</${Button}></${Notice}>`;
  const loading = models.value.filter(({ status }) => status === "loading").map(({ id }) => id);
  const failed = models.value.filter(({ status }) => status === "failed");
  return html`
    ${loading.length > 0 && html`<${Notice} live>Loading ${loading.join(", ")} … You can go on meanwhile.</${Notice}>`}
    ${failed.map(({ id, error }) => html`<${Notice} kind="error" key=${id}>${id} failed to load${error ? `: ${error}` : "."}</${Notice}>`)}
  `;
}

/** Stands in place of a view that the key of this tab does not open. */
function Closed({ title }) {
  return html`
    <h1 tabindex="-1">${title}</h1>
    ${role.value === "user" && html`<${Notice} kind="warning">Your key is a user key: it opens Play. ${title} needs an admin key. <${Button} onClick=${() => useKey("")}>Use another key</${Button}></${Notice}>`}
  `;
}

function KeyForm() {
  const [value, setValue] = useState("");
  const submit = (event) => {
    event.preventDefault();
    useKey(value.trim());
  };
  return html`
    <form class="notice key-form" onSubmit=${submit}>
      <${Field} label="This server asks for an API key" hint="It is kept for this tab alone. A user key opens Play, an admin key everything." error=${key.value ? failure.value?.message : null}>
        ${(props) => html`<input ...${props} type="password" autocomplete="off" value=${value} onInput=${(event) => setValue(event.target.value)} />`}
      </${Field}>
      <${Button} kind="primary" type="submit" disabled=${!value.trim()}>Use key</${Button}>
    </form>
  `;
}

/** Whatever the page can do, curl can do: the requests of the open view. */
function Requests() {
  if (!requests.value.length) return null;
  return html`
    <footer>
      <details class="requests">
        <summary>Requests this view made (${requests.value.length}), as curl</summary>
        <ol>
          ${requests.value.map((request) => html`<li key=${JSON.stringify(request)}><pre tabindex="0">${asCurl(request)}</pre><${CopyButton} text=${() => asCurl(request)} /></li>`)}
        </ol>
      </details>
    </footer>
  `;
}

function Safe({ children }) {
  const [error, reset] = useErrorBoundary((thrown) => console.error(thrown));
  if (!error) return children;
  return html`<${Notice} kind="error" live>This view met a mistake of its own: ${error.message} <${Button} onClick=${reset}>Try again</${Button}></${Notice}>`;
}

render(html`<${App} />`, document.getElementById("app"));
refresh();

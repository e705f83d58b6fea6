// A trait of one's own: two descriptions, the parts a model writes of them, edited, and its end.
import { call, get } from "../../api.js";
import { Button, Delete, Notice, SelectField, TextField } from "../../components/controls.js";
import { Jobs, start } from "../../components/jobs.js";
import { html, useEffect, useState } from "../../html.js";
import { jobs, modelOf, models, refresh } from "../../store.js";

const FIELDS = ["trait_name", "positive_trait", "negative_trait", "model"];
const KINDS = ["trait"];

/** The field that an error is about: poles are named by their descriptions here. */
const fieldOf = ({ param, code }) => ({ positive: "positive_trait", negative: "negative_trait" })[param] ?? param ?? (code === "trait_exists" ? "trait_name" : null);

/** What a trait is called unless one says otherwise: its pole, as far as that can be an id. */
const nameOf = (pole) => pole.trim().toLowerCase().replace(/\s+/g, "-");

/** The model that is likeliest to write well: the largest, as far as is known, and none of the demo's. */
function likeliest() {
  const size = ({ world, n_layers: blocks, hidden_size: width }) => (world === "demo" ? 0 : (blocks ?? 0) * (width ?? 0) ** 2);
  return models.value.reduce((best, other) => (size(other) > size(best) ? other : best), models.value[0]);
}

export function OwnTrait({ onMade }) {
  const [given, setGiven] = useState({ positive_trait: "", negative_trait: "" });
  const [model, setModel] = useState("");
  const [error, setError] = useState(null);
  const at = (name) => (error && fieldOf(error) === name ? error.message : null);
  const field = (name) => ({ value: given[name], onInput: (text) => setGiven({ ...given, [name]: text }), error: at(name) });
  const writer = model || likeliest()?.id;
  const toy = modelOf(writer)?.world === "demo";
  const name = given.trait_name ?? nameOf(given.positive_trait);
  const ask = async (template) => {
    const body = { ...given, trait_name: name, ...(template ? { template } : { model: writer }) };
    setError(null);
    try {
      const made = await start("api/traits/generate-custom", body);
      if (made.object !== "job") {
        setGiven({ positive_trait: "", negative_trait: "" });
        await refresh();
        onMade(made.id);
      }
    } catch (refused) {
      setError(refused);
    }
  };
  // What is likely to work is what the Enter key does.
  const way = (template, text) => html`<${Button} ...${template === toy ? { kind: "primary", type: "submit" } : { onClick: () => ask(template) }}>${text}</${Button}>`;
  const done = () => onMade(jobs.peek().find(({ kind, status }) => kind === "trait" && status === "done").result.trait);
  return html`
    <form class="own" onSubmit=${(event) => { event.preventDefault(); ask(toy); }}>
      <${TextField} label="One pole" placeholder="grumpy" ...${field("positive_trait")} />
      <${TextField} label="The other pole" placeholder="cheerful" ...${field("negative_trait")} />
      <${TextField} label="Name of the trait" ...${field("trait_name")} value=${name} />
      <${SelectField} label="Written by" value=${writer} options=${models.value.map(({ id }) => id)} onChange=${setModel} error=${at("model")} />
      <div class="row">${way(false, "Write the parts")}${way(true, "Use fixed templates")}</div>
    </form>
    ${error && !FIELDS.includes(fieldOf(error)) && html`<${Notice} kind="error" live>${error.message}</${Notice}>`}
    <p class="hint">A model writes five pairs of instructions, forty questions and a rubric. ${toy ? "The demo models can't" : "Small models often can't"}; templates are there at once, and weaker.</p>
    <${Jobs} kinds=${KINDS} onDone=${done} />
  `;
}

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

/** The parts of a trait, which of one's own can be edited, and its end. */
export function Parts({ id, onGone }) {
  const [trait, setTrait] = useState(null);
  const [error, setError] = useState(null);
  const [said, setSaid] = useState("");
  useEffect(() => {
    get(`api/traits/${id}`).then(setTrait, setError);
  }, [id]);
  if (!trait) return error && html`<${Notice} kind="error">${error.message}</${Notice}>`;
  const edit = (change) => setTrait({ ...trait, ...change });
  const fixed = { readonly: trait.built_in };
  const instructions = (side) => ({ value: trait.instructions.map((pair) => pair[side]).join("\n"), onInput: (text) => {
    const others = trait.instructions.map((pair) => pair[side === "positive" ? "negative" : "positive"]);
    const all = text.split("\n");
    edit({ instructions: Array.from({ length: Math.max(all.length, others.length) }, (_, i) => ({ [side]: all[i] ?? "", [side === "positive" ? "negative" : "positive"]: others[i] ?? "" })) });
  } });
  const questions = (use) => ({ value: trait.questions[use].join("\n"), onInput: (text) => edit({ questions: { ...trait.questions, [use]: text.split("\n") } }) });
  const save = async () => {
    const { rubric, description } = trait;
    const kept = { extract: lines(trait.questions.extract.join("\n")), evaluate: lines(trait.questions.evaluate.join("\n")) };
    try {
      const changed = await call("PATCH", `api/traits/${id}`, { instructions: trait.instructions, questions: kept, rubric, description });
      setError(null);
      setSaid(changed.note ?? "Saved.");
      await refresh();
    } catch (refused) {
      setError(refused);
    }
  };
  const end = async () => {
    try {
      const { note } = await call("DELETE", `api/traits/${id}`);
      onGone(`The trait ${id} is deleted. ${note ?? ""}`);
      await refresh();
    } catch (refused) {
      setError(refused);
    }
  };
  return html`
    <details class="parts"><summary>Instructions, questions and rubric${trait.source === "template" ? " (of fixed templates)" : ""}</summary>
      <div class="parts-fields">
        <${TextField} label=${`Instructions for ${trait.positive}, one on each line`} rows="6" ...${instructions("positive")} ...${fixed} />
        <${TextField} label=${`Instructions for ${trait.negative}`} rows="6" ...${instructions("negative")} ...${fixed} />
        <${TextField} label="Questions to extract with" rows="8" ...${questions("extract")} ...${fixed} />
        <${TextField} label="Questions to evaluate with" rows="8" ...${questions("evaluate")} ...${fixed} />
        <${TextField} label="Rubric" rows="4" value=${trait.rubric} onInput=${(rubric) => edit({ rubric })} ...${fixed} />
      </div>
      ${trait.built_in ? html`<p class="hint">This trait came with the package and stays as it is.</p>` : html`<${Button} onClick=${save}>Save</${Button}>`}
      <p role="status">${said}</p>
    </details>
    ${!trait.built_in && html`<div class="row own-trait">The trait ${id} is your own. <${Delete} of=${`the trait ${id}`} onDelete=${end} /></div>`}
    ${error && html`<${Notice} kind="error" live>${error.message}</${Notice}>`}
  `;
}

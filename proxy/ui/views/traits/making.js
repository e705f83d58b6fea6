// The making of a vector of one trait in one model: started, watched where it was started, and why it failed.
import { Button, SelectField } from "../../components/controls.js";
import { Job, dismiss, goesOn, isNews, start } from "../../components/jobs.js";
import { html, useState } from "../../html.js";
import { announce, jobs, vectorOf } from "../../store.js";

export const KINDS = ["extraction", "measuring"];
const BUDGETS = [["quick", "quick: minutes"], ["standard", "standard"], ["thorough", "thorough: hours on a real model without a GPU"]];

const isOf = (model, trait) => (job) => KINDS.includes(job.kind) && job.model === model && job.parameters.trait === trait;

/** The job that makes the vector now, or undefined. */
export const makingOf = (model, trait) => jobs.value.filter(goesOn).find(isOf(model, trait));

/** The last job that was to make the vector, if it failed and no vector came since. */
export function failureOf(model, trait) {
  const last = jobs.value.find(isOf(model, trait));
  const made = Date.parse(vectorOf(model, trait)?.created) / 1000;
  return last?.status === "failed" && !(made > last.ended) ? last : undefined;
}

/** `trait` is one of the store's, `again` whether there is a vector already. */
export function Making({ trait, model, again, next, onStart }) {
  const failed = failureOf(model, trait.id);
  const goingOn = makingOf(model, trait.id);
  const job = goingOn ?? failed ?? jobs.value.filter(isOf(model, trait.id)).find(isNews);
  return html`
    ${job && html`<${Job} key=${job.id} job=${job} next=${next} onHide=${job === failed ? null : () => dismiss(job)} />`}
    ${failed && !goingOn && html`<p class="hint">If it fails again, ${trait.built_in ? "use another model" : "edit the instructions below, or use another model"}.</p>`}
    ${!goingOn && html`<${Make} trait=${trait.id} model=${model} again=${again} onStart=${onStart} />`}
  `;
}

function Make({ trait, model, again, onStart }) {
  const [budget, setBudget] = useState("quick");
  const [error, setError] = useState(null);
  const make = async () => {
    try {
      await start("api/vectors/generate", { model, trait, budget });
      announce("Started.");
      onStart();
    } catch (refused) {
      setError(refused);
    }
  };
  return html`
    <div class="row">
      <${SelectField} label="How thoroughly" value=${budget} options=${BUDGETS} onChange=${setBudget} error=${error?.message} />
      <${Button} kind=${again ? "" : "primary"} onClick=${make}>${again ? "Make it anew" : `Make the vector in ${model}`}</${Button}>
    </div>
  `;
}

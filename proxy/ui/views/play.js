// Play: personas side by side.
import { Table } from "../components/table.js";
import { html } from "../html.js";
import { models } from "../store.js";

export function View() {
  return html`
    <h1 tabindex="-1">Play</h1>
    <${Table} caption="Models" rows=${models.value} empty="No model is served." columns=${[
      { title: "Model", cell: (model) => model.id },
      { title: "Personas", cell: (model) => (model.personas ?? []).join(", ") },
    ]} />
  `;
}

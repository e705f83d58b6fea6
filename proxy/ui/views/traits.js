// Traits and vectors: what there is for each model and pole.
import { Table } from "../components/table.js";
import { html } from "../html.js";
import { traits, vectors } from "../store.js";

export function View() {
  return html`
    <h1 tabindex="-1">Traits and vectors</h1>
    <${Table} caption="Traits" rows=${traits.value} empty="No trait is known." columns=${[
      { title: "Trait", cell: (trait) => trait.id },
      { title: "Poles", cell: (trait) => `${trait.positive} / ${trait.negative}` },
      { title: "Models with a vector", cell: (trait) => trait.models.join(", ") || "none" },
    ]} />
    <h2>Vectors</h2>
    <${Table} caption="Vectors" rows=${vectors.value} empty="No vector is stored." columns=${[
      { title: "Version", cell: (vector) => vector.id },
      { title: "Model", cell: (vector) => vector.model },
      { title: "Trait", cell: (vector) => vector.trait },
      { title: "State", cell: (vector) => vector.note },
    ]} />
  `;
}

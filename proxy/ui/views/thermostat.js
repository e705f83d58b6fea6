// Thermostat: what steering does over the coefficient.
import { Table } from "../components/table.js";
import { html } from "../html.js";
import { vectors } from "../store.js";

const range = (choice) => (choice?.measured_range ? choice.measured_range.join(" to ") : "not measured");

export function View() {
  return html`
    <h1 tabindex="-1">Thermostat</h1>
    <p class="lead">How far each persona was measured to hold together.</p>
    <${Table} caption="Measured ranges" rows=${vectors.value.filter(({ in_use }) => in_use)} empty="No vector is in use." columns=${[
      { title: "Model", cell: (vector) => vector.model },
      { title: "Trait", cell: (vector) => vector.trait },
      { title: "Positive pole", cell: (vector) => `${vector.positive}: ${range(vector.poles.positive)}` },
      { title: "Negative pole", cell: (vector) => `${vector.negative}: ${range(vector.poles.negative)}` },
    ]} />
  `;
}

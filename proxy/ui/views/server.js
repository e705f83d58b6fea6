// Server: models and jobs.
import { Notice } from "../components/controls.js";
import { Table } from "../components/table.js";
import { html, useEffect, useState } from "../html.js";
import { jobs, models, refreshJobs } from "../store.js";

export function View() {
  const [error, setError] = useState(null);
  useEffect(() => {
    refreshJobs().catch(setError);
  }, []);
  return html`
    <h1 tabindex="-1">Server</h1>
    <${Table} caption="Models" rows=${models.value} empty="No model is served." columns=${[
      { title: "Model", cell: (model) => model.id },
      { title: "State", cell: (model) => model.status },
      { title: "Runs by", cell: (model) => [model.engine, model.device, model.dtype].filter(Boolean).join(", ") },
    ]} />
    <h2>Jobs</h2>
    ${error && html`<${Notice} kind="error">${error.message}</${Notice}>`}
    <${Table} caption="Jobs" rows=${jobs.value} empty="No job was started." columns=${[
      { title: "Job", cell: (job) => job.kind },
      { title: "Model", cell: (job) => job.model },
      { title: "State", cell: (job) => job.status },
      { title: "At", cell: (job) => job.progress.doing },
    ]} />
  `;
}

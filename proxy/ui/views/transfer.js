// Transfer: maps that carry vectors from one model to another.
import { get } from "../api.js";
import { Notice } from "../components/controls.js";
import { Table } from "../components/table.js";
import { html, useEffect, useState } from "../html.js";

export function View() {
  const [transfers, setTransfers] = useState([]);
  const [error, setError] = useState(null);
  useEffect(() => {
    get("api/transfers").then(({ data }) => setTransfers(data), setError);
  }, []);
  return html`
    <h1 tabindex="-1">Transfer</h1>
    ${error && html`<${Notice} kind="error">${error.message}</${Notice}>`}
    <${Table} caption="Transfers" rows=${transfers} empty="No transfer was fitted." columns=${[
      { title: "From", cell: (transfer) => transfer.source.id },
      { title: "To", cell: (transfer) => transfer.target.id },
      { title: "Fitted on", cell: (transfer) => transfer.text },
      { title: "Documents", number: true, cell: (transfer) => transfer.n_documents },
    ]} />
  `;
}

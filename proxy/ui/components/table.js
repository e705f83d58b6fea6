// Tables: plain ones, and those whose cells are coloured by a number, as heat maps are.
import { html } from "../html.js";

/** `columns`: [{title, cell(row), number?}], one of buttons with the title "". Wide tables scroll by themselves, also by
 * keyboard. `empty` is what stands there without rows; `caption` says what the table is. */
export function Table({ caption, columns, rows, keyOf = (row) => row.id, empty = "Nothing yet." }) {
  if (!rows.length) return html`<p class="empty">${empty}</p>`;
  return html`
    <div class="table-frame" tabindex="0" role="region" aria-label=${caption}>
      <table>
        <caption class="visually-hidden">${caption}</caption>
        <thead><tr>${columns.map(({ title, number }) => html`<th scope="col" class=${number ? "number" : ""}>${title || html`<span class="visually-hidden">Actions</span>`}</th>`)}</tr></thead>
        <tbody>
          ${rows.map((row) => html`<tr key=${keyOf(row)}>${columns.map(({ cell, number }) => html`<td class=${number ? "number" : ""} dir="auto">${cell(row)}</td>`)}</tr>`)}
        </tbody>
      </table>
    </div>
  `;
}

/** A heat map: `rows` and `columns` are texts, `value(r, c)` a number or null, `range` [low, high], `chosen(r, c)` marks
 * cells. Every cell also has its number as text. */
export function HeatMap({ caption, rows, columns, value, range: [low, high], chosen = () => false, digits = 2 }) {
  const cell = (r, c) => {
    const number = value(r, c);
    if (number == null) return html`<td class="heat missing"><span class="visually-hidden">not measured</span></td>`;
    const share = Math.min(Math.max((number - low) / (high - low || 1), 0), 1);
    const marked = chosen(r, c);
    return html`<td class=${`heat ${marked ? "chosen" : ""}`} style=${{ "--share": share }}>${number.toFixed(digits)}${marked && html`<span class="visually-hidden"> (chosen)</span>`}</td>`;
  };
  return html`
    <div class="heat-frame"><p class="caption" aria-hidden="true">${caption}</p>
    <div class="table-frame" tabindex="0" role="region" aria-label=${caption}>
      <table class="heat-map">
        <caption class="visually-hidden">${caption}</caption>
        <thead><tr><td></td>${columns.map((title) => html`<th scope="col">${title}</th>`)}</tr></thead>
        <tbody>${rows.map((title, r) => html`<tr key=${r}><th scope="row">${title}</th>${columns.map((_, c) => cell(r, c))}</tr>`)}</tbody>
      </table>
    </div></div>
  `;
}

// How well a block of one model tells what a block of the other holds, and the maps that were fitted.
import { HeatMap, Table } from "../../components/table.js";
import { html } from "../../html.js";

const SPANS = { last_prompt: "last prompt token", response: "answers" };

export function Maps({ transfer }) {
  return html`
    <h2>How well the maps hold</h2>
    <p>R², the share of the target's variance that is explained in text held out. Each block of ${transfer.target.id} (rows) gets a map from the block of ${transfer.source.id} (columns) that tells most about it, framed.</p>
    <div class="maps">${Object.keys(transfer.screened).map((span) => html`<${Screened} key=${span} transfer=${transfer} span=${span} />`)}</div>
    <details><summary>The maps, one by one</summary><${Table} caption="Maps" rows=${transfer.maps} keyOf=${(map) => map.span + map.target_block} columns=${[
      { title: "Of", cell: ({ span }) => SPANS[span] ?? span },
      { title: "From block", number: true, cell: (map) => map.source_block },
      { title: "To block", number: true, cell: (map) => map.target_block },
      { title: "R²", number: true, cell: ({ r2 }) => r2.toFixed(2) },
      { title: "R² of shuffled pairs", number: true, cell: ({ r2_shuffled: r2 }) => r2.toFixed(2) },
      { title: "Pairs", number: true, cell: ({ n_pairs: pairs }) => pairs },
      { title: "Fitted by", cell: ({ method }) => method },
    ]} /></details>
  `;
}

/** By a quick fit of every pair of blocks. */
function Screened({ transfer, span }) {
  const table = transfer.screened[span];
  const chosen = (r, c) => transfer.maps.some((map) => map.span === span && map.target_block === transfer.target_blocks[r] && map.source_block === c);
  return html`<${HeatMap} caption=${`Quick fits of all pairs of blocks, ${SPANS[span] ?? span}`} rows=${transfer.target_blocks.map(String)} columns=${table.map((_, block) => String(block))} value=${(r, c) => table[c][r]} range=${[0, 1]} chosen=${chosen} />`;
}

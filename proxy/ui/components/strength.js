// A persona's coefficient: a slider with its number beside it, the measured range shaded, the collapse points marked.
import { html, useId, useState } from "../html.js";
import { Button } from "./controls.js";

const MOST = 2;
const STEP = 0.05;
const share = (coefficient) => `${((Math.min(Math.max(coefficient, -MOST), MOST) + MOST) / (2 * MOST)) * 100}%`;
const shown = (coefficient) => String(Number(coefficient.toFixed(2))).replace("-", "−");

/** `measured` is [low, high] or null, `collapses` the coefficients from which on answers fall apart. The number field
 * takes what it is given: what can't be, the server refuses in its own words, which are `error`. */
export function Strength({ name, opposite, value, measured, collapses = [], error, onInput, onRemove }) {
  const id = useId();
  const [empty, setEmpty] = useState(false);
  const typed = ({ target }) => {
    setEmpty(target.value === "");
    if (target.value !== "") onInput(target.valueAsNumber);
  };
  const said = empty ? `Give a number from ${shown(-MOST)} to ${MOST}.` : error;
  const means = value === 0 ? "off" : value < 0 && opposite ? `${opposite} ${shown(-value)}` : `${name} ${shown(value)}`;
  const range = measured ? `measured ${shown(measured[0])} to ${shown(measured[1])}` : "range not measured";
  const apart = collapses.length ? `, falls apart at ${collapses.map(shown).join(" and ")}` : "";
  return html`
    <div class=${`strength ${said ? "wrong" : ""}`}>
      <div class="strength-ends" aria-hidden="true"><span>${opposite ?? `opposite of ${name}`}</span><span>${name}</span></div>
      <div class="strength-row">
        <div class="strength-track" style=${measured ? { "--low": share(measured[0]), "--high": share(measured[1]) } : { "--low": "0%", "--high": "0%" }}>
          ${collapses.map((at) => html`<span class="collapse" key=${at} style=${{ left: share(at) }} aria-hidden="true"></span>`)}
          <input type="range" min=${-MOST} max=${MOST} step=${STEP} value=${value} aria-label=${`${name}: strength`} aria-valuetext=${means} aria-describedby=${`${id}-range`} onInput=${typed} />
        </div>
        <input type="number" step=${STEP} value=${value} aria-label=${`${name}: coefficient`} aria-invalid=${said ? "true" : null} aria-describedby=${said ? `${id}-error` : `${id}-range`} onInput=${typed} />
        ${onRemove && html`<${Button} kind="quiet" label=${`Remove ${name}`} onClick=${onRemove}>×</${Button}>`}
      </div>
      <p class="hint" id=${`${id}-range`}>${range}${apart}</p>
      ${said && html`<p class="error" id=${`${id}-error`} role="alert">${said}</p>`}
    </div>
  `;
}

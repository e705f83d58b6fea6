// An answer, token by token: coloured by projection, with what each token was and might have been. Knows nothing of
// requests; `onFork(text)` gets how another answer shall begin.
import { Button } from "../../components/controls.js";
import { html, useEffect, useMemo, useRef, useState } from "../../html.js";
import { percent, signed, visible } from "./words.js";

const BLOCK = 40; // tokens that are drawn as one, so that a long answer need not be drawn anew for each
const MOST = 2; // projections beyond are coloured alike

function styled(value) {
  if (value == null) return {};
  return { name: value < 0 ? "away" : "towards", style: { "--amount": Math.min(Math.abs(value) / MOST, 1) } };
}

function Block({ tokens, from, chosen, by }) {
  // Tokens get their projections late: the block is drawn anew when it has more tokens or more projections.
  const known = tokens.filter(({ projection }) => projection != null).length;
  return useMemo(
    () => tokens.map((token, i) => {
      const { name = "", style } = styled(token.projection?.[by]);
      return html`<span key=${i} data-i=${from + i} class=${`token ${name} ${from + i === chosen ? "chosen" : ""}`} style=${style}>${token.text}</span>`;
    }),
    [tokens.length, known, tokens[0], chosen, by],
  );
}

/** `poles` are those that projections were read on, `by` the one that colours, or null. */
export function Answer({ message, poles, by, onFork }) {
  const [chosen, setChosen] = useState(null);
  const [under, setUnder] = useState(null);
  const frame = useRef(null);
  const { tokens } = message;
  useEffect(() => {
    if (chosen != null && chosen >= tokens.length) setChosen(null);
  }, [tokens]);
  if (!tokens) return html`<div class="answer" dir="auto">${message.content}</div>`;
  const at = (event) => event.target.dataset?.i && { index: Number(event.target.dataset.i), element: event.target };
  const hover = (event) => {
    const found = at(event);
    setUnder(found ? { index: found.index, left: found.element.offsetLeft, top: found.element.offsetTop + found.element.offsetHeight } : null);
  };
  const choose = (event) => {
    const found = at(event);
    if (found && !getSelection().toString()) setChosen(found.index === chosen ? null : found.index);
  };
  const move = (event) => {
    const forward = getComputedStyle(frame.current).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const backward = forward === "ArrowLeft" ? "ArrowRight" : "ArrowLeft";
    const next = { [forward]: (chosen ?? -1) + 1, [backward]: (chosen ?? 1) - 1, Home: 0, End: tokens.length - 1, Escape: null }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    setChosen(next === null ? null : Math.min(Math.max(next, 0), tokens.length - 1));
  };
  const starts = Array.from({ length: Math.ceil(tokens.length / BLOCK) }, (_, i) => i * BLOCK);
  const pointed = under && tokens[under.index];
  return html`
    <div class="answer-frame">
      <div class="answer" dir="auto" ref=${frame} tabindex="0" role="group" aria-label="Answer. Arrow keys go from token to token." onMouseOver=${hover} onMouseLeave=${() => setUnder(null)} onClick=${choose} onKeyDown=${move}>
        ${starts.map((from) => html`<${Block} key=${from} tokens=${tokens.slice(from, from + BLOCK)} from=${from} by=${by} chosen=${chosen >= from && chosen < from + BLOCK ? chosen : null} />`)}
      </div>
      ${pointed && html`<div class="tip" aria-hidden="true" style=${{ left: `max(0px, min(${under.left}px, 100% - 24rem))`, top: `${under.top}px` }}>${told(pointed, poles)}</div>`}
      <div aria-live="polite">${chosen != null && tokens[chosen] && html`<${Inspector} tokens=${tokens} index=${chosen} poles=${poles} onFork=${onFork} onClose=${() => setChosen(null)} />`}</div>
    </div>
  `;
}

function told({ projection, logprob }, poles) {
  const parts = [];
  if (poles.length) parts.push(projection ? `projection on ${poles.filter((pole) => pole in projection).map((pole) => `${pole} ${signed(projection[pole])}`).join(", ")}` : "projection not read");
  if (logprob != null) parts.push(`probability ${percent(logprob)}`);
  return parts.join(" · ");
}

/** One token, and what might have stood there: any of it can begin another answer. */
function Inspector({ tokens, index, poles, onFork, onClose }) {
  const token = tokens[index];
  const before = tokens.slice(0, index).map(({ text }) => text).join("");
  const top = token.inParts ? [] : token.top ?? [];
  return html`
    <div class="inspector">
      <div class="inspector-head">
        <span><code>${visible(token.text)}</code> <span class="muted">token ${index + 1} of ${tokens.length}</span></span>
        <${Button} kind="quiet" label="Close" onClick=${onClose}>×</${Button}>
      </div>
      <p class="number">${told(token, poles) || "Nothing was read for this token."}</p>
      ${top.length > 0 && html`
        <table>
          <caption class="visually-hidden">What might have stood here</caption>
          <thead><tr><th scope="col">Might have been</th><th scope="col" class="number">Probability</th><th scope="col"><span class="visually-hidden">Fork</span></th></tr></thead>
          <tbody>
            ${top.map((other) => html`
              <tr key=${other.text} class=${other.text === token.text ? "drawn" : ""}>
                <td><code dir="auto">${visible(other.text)}</code></td>
                <td class="number">${percent(other.logprob)}</td>
                <td><${Button} kind="quiet" label=${`Fork with ${visible(other.text)}`} onClick=${() => onFork(before + other.text)}>Fork</${Button}></td>
              </tr>`)}
          </tbody>
        </table>`}
      ${top.length === 0 && html`<${Button} onClick=${() => onFork(before + token.text)}>Fork behind this</${Button}>`}
    </div>
  `;
}

/** What the colours mean; `pole` is "" where each column has its own. */
export function Legend({ pole }) {
  const marks = [[-2, "−2"], [-1, "−1"], [0, "0 neutral mean"], [1, pole ? `1 ${pole}’s own mean` : "1 that pole’s own mean"], [2, "2"]];
  return html`
    <dl class="legend">
      <dt>Projection on ${pole || "the pole steered to"}</dt>
      ${marks.map(([value, text]) => {
        const { name, style } = styled(value);
        return html`<dd key=${value}><span class=${`swatch ${name}`} style=${style}></span>${text}</dd>`;
      })}
    </dl>
  `;
}

// What a pole was found to be worth in its model: a word, with what it means on hover and for screen readers.
import { html } from "../html.js";

const WORDS = {
  steers: { word: "steers", kind: "good", means: "At 1 its answers show it more than answers without steering, with random directions and with other traits' ones, for certain, and they hold together." },
  weak: { word: "weak", kind: "warning", means: "It shows, but at 1 not above everything that it was compared with, or its answers lose too much." },
  prompt_only: { word: "this model can't", kind: "danger", means: "A system prompt, alone or with demonstrations, brings it in this model; the vector does not." },
  nothing: { word: "nothing works", kind: "danger", means: "Neither the vector nor a system prompt brings it in this model, as far as was asked." },
  by_itself: { word: "so by itself", kind: "good", means: "The model is like this without steering; there is hardly anything to add." },
  unscored: { word: "unscored", kind: "warning", means: "The judge can't tell its poles apart, so nothing is known." },
};

/** `found` is the pole as the API tells it, with its `verdict` and the `reason`; nothing where it was never evaluated. */
export function Verdict({ pole, found }) {
  const known = WORDS[found?.verdict];
  if (!known) return null;
  const text = `${known.means} Here: ${found.reason}.`;
  return html`<span class="worth"><span dir="auto">${pole}</span>: <abbr class=${known.kind} title=${text}>${known.word}</abbr><span class="visually-hidden">. ${text}</span></span>`;
}

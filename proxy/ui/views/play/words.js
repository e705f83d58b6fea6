// What was done to an answer, in words and figures. Knows nothing of requests and elements.

/** A number with a real minus sign: 1.5, −1, 0.05. */
export const signed = (number, digits = 2) => (number == null ? "–" : String(Number(number.toFixed(digits))).replace("-", "−"));

/** "silly 1 + deep 0.5", or "as it is" for what is not steered. */
export function title(personas, by) {
  const on = Object.entries(personas).filter(([, strength]) => strength);
  if (!on.length) return "The model as it is";
  const names = on.map(([name, strength]) => `${name} ${signed(strength)}`).join(" + ");
  return { prompt: `${names}, by system prompt`, random: `Random, as strong as ${names}` }[by] ?? names;
}

/** What a negative strength is of the opposite pole: "serious 1" for silly at −1; "" where there is nothing to say. */
export function otherwise(personas, oppositeOf) {
  const on = Object.entries(personas).filter(([, strength]) => strength);
  if (!on.some(([name, strength]) => strength < 0 && oppositeOf(name))) return "";
  return on.map(([name, strength]) => (strength < 0 && oppositeOf(name) ? `${oppositeOf(name)} ${signed(-strength)}` : `${name} ${signed(strength)}`)).join(" + ");
}

/** {kind, text}: whether what was done is within what was measured. `found` is what was found there, by measured.js. */
export function verdict(report, { collapse, unfinished } = {}) {
  if (!report) return null;
  const cut = report.clamped ? " The dose was cut to the limit." : "";
  if (report.random_direction != null) return { kind: "off", text: `A random direction, as strong: what steering does that is not the persona.${cut}` };
  if (report.method === "none") return { kind: "off", text: "Not steered: this is what the others compare with." };
  if (report.method === "prompt") return { kind: "off", text: "Asked for by a system prompt; nothing was added inside the model." };
  if (report.method === "sampling") return { kind: "unknown", text: "Only the sampling was changed: this model has no vector for it." };
  if (report.beyond_measured_range && collapse != null) return { kind: "beyond", text: `Too far: answers fell apart at ${signed(collapse)} when it was measured.${cut}` };
  if (report.beyond_measured_range) return { kind: "beyond", text: `Beyond what was measured: answers may fall apart here.${cut}` };
  if (report.beyond_measured_range === false && unfinished) return { kind: "unknown", text: `Within what was measured, but ${Math.round(100 * unfinished.share)} % of the answers measured at ${signed(unfinished.at)} were cut off or went round in circles.${cut}` };
  if (report.beyond_measured_range === false) return { kind: "within", text: `Within what was measured: answers hold together here.${cut}` };
  return { kind: "unknown", text: `How far this may go was never measured.${cut}` };
}

/** The share of times a token is drawn, as text. */
export function percent(logprob) {
  const share = Math.exp(logprob) * 100;
  if (share >= 99.95) return "100 %";
  return share < 0.1 ? "< 0.1 %" : `${share.toFixed(1)} %`;
}

/** A token so that it can be seen: blanks and line ends have signs. */
export const visible = (text) => text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replace(/^ | $/g, "␣") || "nothing";

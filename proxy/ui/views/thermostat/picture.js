// The picture of measured curves: lines with bands on a canvas, a click on which asks at that strength; files of it.
// Knows nothing of how curves are come by.
import { Chart, colour } from "../../components/chart.js";
import { html, signal, useMemo, useRef, useState } from "../../html.js";
import { signed } from "../play/words.js";
import { colourOf, figuresAt, linesOf } from "./figures.js";

const HEIGHT = 380;
const QUARTERS = [0.25, 0.5, 1]; // ticks where sweeps measure
const BAND_ALPHA = { steered: 0.14, random: 0.1, wrong_trait: 0.1, prompt: 0 };
const BEYOND_ALPHA = 0.07;
const WORDS_ALPHA = 0.85; // of the ground that words in the picture have
const ROOM_FOR_WORDS = 140; // pixels: less than that, and a mark stays without its words
/** Counts changes of the theme: a canvas does not follow them by itself. */
const scheme = signal(0);
const changed = () => (scheme.value += 1);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
new MutationObserver(changed).observe(document.documentElement, { attributeFilter: ["data-theme"] });

const faint = (name, alpha) => colour(name).replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`);

/** {data, options} for uPlot. */
function plotOf(versions, measures, onPick, onPoint) {
  const lines = linesOf(versions, measures);
  // What is still being measured has its whole width from the beginning.
  const ends = versions.flatMap((version) => version.ends ?? []);
  const xs = [...new Set([...ends, ...lines.flatMap(({ points }) => points.map(({ x }) => x))])].sort((a, b) => a - b);
  const data = [xs];
  const series = [{}];
  const bands = [];
  const add = (line, of, options) => {
    const at = new Map(line.points.map((point) => [point.x, of(point)]));
    data.push(xs.map((x) => at.get(x) ?? null));
    series.push({ spanGaps: true, points: { show: false }, ...options });
  };
  for (const line of lines) {
    const { kind } = line.measure;
    if (BAND_ALPHA[kind]) {
      add(line, ({ high }) => high, { width: 0, stroke: "transparent" });
      add(line, ({ low }) => low, { width: 0, stroke: "transparent" });
      bands.push({ series: [series.length - 2, series.length - 1], fill: faint(line.colour, BAND_ALPHA[kind]) });
    }
    const marks = { show: line.measure.name === "trait", size: 7, fill: colour(line.colour), stroke: colour("surface") };
    add(line, ({ mean }) => mean, { width: kind === "steered" ? 2 : 1.5, stroke: colour(line.colour), dash: line.dash, points: marks });
  }
  const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, font: "12px system-ui, sans-serif" };
  const options = {
    series, bands,
    scales: { x: { time: false }, y: { range: [-2, 102] } },
    axes: [{ ...axis, incrs: QUARTERS, label: "coefficient", labelSize: 20, labelFont: axis.font, values: (_, ticks) => ticks.map((tick) => signed(tick)) }, { ...axis, size: 44, values: (_, ticks) => ticks.map(String) }],
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { show: false } },
    hooks: {
      drawClear: [(plot) => beyondOn(plot, versions)],
      draw: [(plot) => marksOn(plot, versions)],
      setCursor: [({ cursor }) => onPoint(cursor.left >= 0 && cursor.idx != null ? xs[cursor.idx] : null)],
      ready: [(plot) => plot.over.addEventListener("click", () => plot.cursor.idx != null && onPick(xs[plot.cursor.idx]))],
    },
  };
  return { data, options };
}

/** Where each pole's answers fall apart: [{at, side, key}], sides being 1 and −1, `key` the colour's name. */
const collapses = (versions) => versions.flatMap(({ sweeps }, i) => [["positive", 1], ["negative", -1]].flatMap(([name, side]) => (sweeps[name]?.collapse != null ? [{ at: side * sweeps[name].collapse, side, key: colourOf(versions, i) ?? "danger" }] : [])));

/** What is too far, as a ground of its own; of several curves there is no one ground. */
function beyondOn({ ctx, bbox, valToPos }, versions) {
  if (versions.length > 1) return;
  ctx.save();
  ctx.fillStyle = faint("danger", BEYOND_ALPHA);
  for (const { at, side } of collapses(versions)) {
    const x = valToPos(at, "x", true);
    const end = side > 0 ? bbox.left + bbox.width : bbox.left;
    ctx.fillRect(Math.min(x, end), bbox.top, Math.abs(end - x), bbox.height);
  }
  ctx.restore();
}

/** Where 0 is, and where answers fall apart. */
function marksOn(plot, versions) {
  const { ctx, bbox } = plot;
  const upright = (x, name, dash) => {
    const at = Math.round(plot.valToPos(x, "x", true)) + 0.5;
    ctx.strokeStyle = colour(name);
    ctx.setLineDash(dash);
    ctx.beginPath();
    ctx.moveTo(at, bbox.top);
    ctx.lineTo(at, bbox.top + bbox.height);
    ctx.stroke();
  };
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  upright(0, "strong-line", []);
  ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textBaseline = "bottom";
  for (const { at, side, key } of collapses(versions)) {
    upright(at, key, [4, 4]);
    const x = plot.valToPos(at, "x", true);
    const inwards = Math.abs(x - plot.valToPos(0, "x", true));
    if (versions.length > 1 || inwards < ROOM_FOR_WORDS * devicePixelRatio) continue;
    const words = { text: "falls apart", x: x - 6 * side * devicePixelRatio, y: bbox.top + bbox.height / 2 };
    const width = ctx.measureText(words.text).width;
    ctx.fillStyle = faint("surface", WORDS_ALPHA);
    ctx.fillRect(side > 0 ? words.x - width : words.x, words.y - 15 * devicePixelRatio, width, 16 * devicePixelRatio);
    ctx.fillStyle = colour("danger");
    ctx.textAlign = side > 0 ? "right" : "left";
    ctx.fillText(words.text, words.x, words.y);
  }
  ctx.restore();
}

/** `table` is what Table takes; `onPick` gets the coefficient that was clicked. */
export function Picture({ label, versions, measures, table, onPick }) {
  const frame = useRef(null);
  const pick = useRef(onPick);
  pick.current = onPick;
  const theme = scheme.value;
  const [under, setUnder] = useState(null);
  const { data, options } = useMemo(() => plotOf(versions, measures, (x) => pick.current(x), setUnder), [versions, measures.join(), theme]);
  return html`<div class="curves" ref=${frame}>
    <div class="curve-under" style=${{ "--lines": versions.length }} aria-hidden="true">${under != null && figuresAt(versions, measures, under).map((text) => html`<div key=${text}>${text}</div>`)}</div>
    <${Chart} label=${label} data=${data} options=${options} height=${HEIGHT} table=${table} /></div>`;
}

/** The canvas as a PNG on the ground it is seen on. */
export function pngOf(canvas) {
  const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  const ctx = copy.getContext("2d");
  ctx.fillStyle = colour("surface");
  ctx.fillRect(0, 0, copy.width, copy.height);
  ctx.drawImage(canvas, 0, 0);
  return new Promise((done) => copy.toBlob(done, "image/png"));
}

// A curve by uPlot with a table of the same figures beside it, for those who can't see a canvas.
import { html, useEffect, useRef } from "../html.js";
import { Table } from "./table.js";

/** `data` and `options` are uPlot's, without sizes: data[0] the x values, then one list for each series, null where
 * nothing was measured. `table` is what Table takes. Colours are told by `colour(name)`. */
export function Chart({ label, data, options, height = 280, table }) {
  const frame = useRef(null);
  useEffect(() => {
    const place = frame.current;
    let plot;
    let gone = false;
    const sized = new ResizeObserver(([{ contentRect }]) => plot?.setSize({ width: Math.floor(contentRect.width), height }));
    import("../vendor/uplot.js").then(({ default: UPlot }) => {
      if (gone || !place?.isConnected) return; // the view was left while uPlot was loaded
      plot = new UPlot({ width: place.clientWidth, height, ...options }, data, place);
      sized.observe(place);
    });
    return () => {
      gone = true;
      sized.disconnect();
      plot?.destroy();
    };
  }, [data, options, height]);
  return html`
    <figure class="chart">
      <div ref=${frame} role="img" aria-label=${label}></div>
      <details><summary>The same as a table</summary><${Table} ...${table} /></details>
    </figure>
  `;
}

/** A colour of style.css, such as colour("accent"), as the theme of now has it. */
export function colour(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

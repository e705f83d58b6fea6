// Files that the page hands to the browser, made here or by the server.
import { file } from "../api.js";

export function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A file the server makes. ApiError where it refuses. */
export async function saveFrom(path, name) {
  const { blob, name: given } = await file(path);
  save(blob, name ?? given);
}

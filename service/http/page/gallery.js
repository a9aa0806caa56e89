// The gallery: its labels, its items page by page, and asking with one of them.
import { useEffect, useState } from "./vendor/hooks.js";
import { get } from "./api.js";
import { html } from "./html.js";
import { counted } from "./words.js";

export function Gallery({ askWithItem }) {
  const [gallery, setGallery] = useState(null);
  useEffect(() => {
    get("gallery").then(setGallery);
  }, []);
  if (!gallery) return null;
  return html`<h1>Gallery</h1><p>${counted(gallery.size)} items</p>`;
}

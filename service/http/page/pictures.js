// Pictures: of gallery items, and of what the model sees.
import { useEffect, useRef } from "./vendor/hooks.js";
import { imagePath } from "./api.js";
import { html } from "./html.js";
import { paint } from "./tensors.js";

export const ItemPicture = ({ id, alt }) => html`<img class="picture" src=${imagePath(id)} alt=${alt} loading="lazy" />`;

export function TensorPicture({ tensor, alt }) {
  const canvas = useRef();
  useEffect(() => paint(canvas.current, tensor), [tensor]);
  return html`<canvas class="picture" role="img" aria-label=${alt} ref=${canvas}></canvas>`;
}

export const Captioned = ({ title, detail, children }) =>
  html`<figure>${children}<figcaption><strong>${title}</strong>${detail && html`<small>${detail}</small>`}</figcaption></figure>`;

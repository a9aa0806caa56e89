// Pictures: of gallery items, and of what the model sees.
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import { file, hasKey, imagePath } from "./api.js";
import { html } from "./html.js";
import { paint } from "./tensors.js";

// A browser sends no key for the `src` of a picture: where there is one, the file is asked for.
export function ItemPicture({ id, alt }) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    if (!hasKey()) return setUrl(imagePath(id));
    let made = null;
    let wanted = true;
    file(imagePath(id)).then((blob) => wanted && setUrl((made = URL.createObjectURL(blob))), () => {});
    return () => {
      wanted = false;
      if (made) URL.revokeObjectURL(made);
    };
  }, [id]);
  return html`<img class="picture" src=${url} alt=${alt} loading="lazy" />`;
}

export function TensorPicture({ tensor, alt }) {
  const canvas = useRef();
  useEffect(() => paint(canvas.current, tensor), [tensor]);
  return html`<canvas class="picture" role="img" aria-label=${alt} ref=${canvas}></canvas>`;
}

export const Captioned = ({ title, detail, children }) =>
  html`<figure>${children}<figcaption><strong>${title}</strong>${detail && html`<small>${detail}</small>`}</figcaption></figure>`;

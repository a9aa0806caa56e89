// Parts of the page that are loaded when they are first shown.
import { useEffect, useState } from "./vendor/hooks.js";
import { html } from "./html.js";

// A component that is the one that `load` promises.
export function lazily(load) {
  return function Lazy(props) {
    const [Part, setPart] = useState(null);
    useEffect(() => void load().then((part) => setPart(() => part)), []);
    return Part && html`<${Part} ...${props} />`;
  };
}

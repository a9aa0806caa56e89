// Drawing a small grey picture, cell by cell: with a pointer, or with the arrow keys and the space bar.
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import { html } from "./html.js";
import { paint } from "./tensors.js";

// Ink reaches so far from the pen, in cells, and is full up to so much less.
const [REACH, EDGE] = [1.05, 0.75];

export function Drawing({ height, width, setQuery }) {
  const empty = () => ({ shape: [1, height, width], pixels: new Float32Array(height * width) });
  const [picture, setPicture] = useState(empty);
  const [cell, setCell] = useState([Math.floor(height / 2), Math.floor(width / 2)]);
  const pen = useRef(null);
  const canvas = useRef();
  useEffect(() => paint(canvas.current, picture), [picture]);

  const change = (ink) => setPicture(({ shape, pixels }) => ({ shape, pixels: pixels.map(ink) }));
  function stroke(from, to) {
    change((value, i) => {
      const away = toSegment([(i % width) + 0.5, Math.floor(i / width) + 0.5], from, to);
      return Math.max(value, Math.min(1, Math.max(0, (REACH - away) / EDGE)));
    });
  }
  const place = (event) => {
    const box = canvas.current.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  };
  const move = (event) => {
    if (!pen.current) return;
    const to = place(event);
    stroke(pen.current, to);
    pen.current = to;
  };
  const press = (event) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    pen.current = place(event);
    stroke(pen.current, pen.current);
  };
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const type = (event) => {
    const [row, column] = cell;
    const here = row * width + column;
    if (event.key in steps) {
      const [down, right] = steps[event.key];
      setCell([Math.min(height - 1, Math.max(0, row + down)), Math.min(width - 1, Math.max(0, column + right))]);
    } else if (event.key === " ") change((value, i) => (i === here ? 1 : value));
    else if (event.key === "Backspace") change((value, i) => (i === here ? 0 : value));
    else return;
    event.preventDefault();
  };
  const [row, column] = cell;
  const ink = picture.pixels[row * width + column] > 0 ? "ink" : "empty";
  const blank = picture.pixels.every((value) => value === 0);
  return html`
    <div class="drawing">
      <div
        class="board" role="application" tabindex="0" aria-label="Drawing board" aria-describedby="drawing-help"
        onKeyDown=${type} onPointerDown=${press} onPointerMove=${move} onPointerUp=${() => (pen.current = null)}
        ref=${(board) => {
          board?.style.setProperty("--row", row / height);
          board?.style.setProperty("--column", column / width);
          board?.style.setProperty("--cell", 1 / width);
        }}
      >
        <canvas class="picture" ref=${canvas}></canvas>
      </div>
      <p id="drawing-help"><small>Draw with the pointer, or with the arrow keys, space for ink and backspace to erase.</small></p>
      <p role="status" class="quiet">Row ${row + 1}, column ${column + 1}: ${ink}</p>
      <p class="buttons">
        <button type="button" disabled=${blank} onClick=${() => setQuery({ name: "your drawing", tensor: picture })}>Ask with it</button>
        <button type="button" class="secondary" onClick=${() => setPicture(empty())}>Clear</button>
      </p>
    </div>
  `;
}

function toSegment([x, y], [fromX, fromY], [toX, toY]) {
  const [alongX, alongY] = [toX - fromX, toY - fromY];
  const square = alongX ** 2 + alongY ** 2;
  const share = square ? Math.min(1, Math.max(0, ((x - fromX) * alongX + (y - fromY) * alongY) / square)) : 0;
  return Math.hypot(x - fromX - share * alongX, y - fromY - share * alongY);
}

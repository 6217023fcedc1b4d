// Elements of the page. Unchanged elements are not replaced, so they keep the focus and the selection.
export const $ = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Replaces the children of the node, if they differ.
export function render(node, ...children) {
  const next = node.cloneNode(false);
  next.append(...children);
  if (!node.isEqualNode(next)) node.replaceChildren(...next.childNodes);
}

// Puts the lines into this order. A line loses the focus if it is moved, so the other lines are moved around it.
export function arrange(body, lines) {
  const wanted = new Set(lines);
  for (const line of [...body.children]) if (!wanted.has(line)) line.remove();
  if (lines.every((line, index) => body.children[index] === line)) return;
  const focused = lines.findIndex((line) => line.contains(document.activeElement));
  if (focused < 0) return body.replaceChildren(...lines);
  lines[focused].before(...lines.slice(0, focused));
  lines[focused].after(...lines.slice(focused + 1));
}

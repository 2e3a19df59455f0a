// As much of a browser's document as page.html uses; prints the shapes that it draws, first as it opens, then unfolded.
"use strict";
const fs = require("fs");
const page = fs.readFileSync(process.argv[2], "utf8");
const data = page.match(/<script id="data"[^>]*>([\s\S]*?)<\/script>/)[1];
const script = page.match(/<script>([\s\S]*?)<\/script>/)[1];
class Element {
  constructor(tag) { Object.assign(this, { tag, attributes: {}, children: [], listeners: {} }); }
  setAttribute(key, value) { this.attributes[key] = String(value); }
  appendChild(child) { this.children.push(child); }
  append(child) { this.children.push(child); }
  addEventListener(kind, listener) { this.listeners[kind] = listener; }
  cloneNode() { return new Element(this.tag); }
  querySelector() { return new Element("defs"); }
  replaceWith(other) { svg = other; }
}
let svg = new Element("svg");
const elements = { data: { textContent: data }, fold: new Element("button"), unfold: new Element("button") };
global.document = {
  getElementById: id => elements[id],
  querySelector: () => ({ querySelector: () => svg }),
  createElementNS: (_, tag) => new Element(tag),
};
const shapes = element => element.children.flatMap(child => [
  ["rect", "path", "text", "title"].includes(child.tag)
    ? [child.tag, { ...child.attributes }, child.textContent || ""] : null, ...shapes(child)]).filter(Boolean);
const found = [];
const keep = () => found.push({ size: [svg.attributes.width, svg.attributes.height], shapes: shapes(svg) });
eval(script);
keep();
elements.unfold.listeners.click();
keep();
elements.fold.listeners.click();
keep();
console.log(JSON.stringify(found));

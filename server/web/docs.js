// Draws the API's own description. Text only ever becomes text nodes, never markup.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
const MAX_DEPTH = 6;

function element(name, options = {}, ...children) {
  const node = Object.assign(document.createElement(name), options);
  node.append(...children.filter((child) => child !== null));
  return node;
}

function resolve(schema, api) {
  if (!schema || !schema.$ref) return schema || {};
  const name = schema.$ref.split("/").pop();
  return (api.components.schemas || {})[name] || {};
}

// An example-like sketch of a schema: field names with their types.
function sketch(schema, api, depth = 0) {
  const found = resolve(schema, api);
  const choices = found.oneOf || found.anyOf;
  if (depth > MAX_DEPTH) return "…";
  if (choices) {
    const real = choices.filter((choice) => choice.type !== "null");
    const shown = real.map((choice) => sketch(choice, api, depth + 1));
    return shown.length === 1 || typeof shown[0] !== "string" ? shown[0] : shown.join(" | ");
  }
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.enum) return found.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (found.type === "array") return [sketch(found.items, api, depth + 1)];
  if (found.properties) {
    const required = new Set(found.required || []);
    return Object.fromEntries(
      Object.entries(found.properties).map(([name, property]) => [
        required.has(name) ? name : `${name}?`, sketch(property, api, depth + 1),
      ]),
    );
  }
  return [].concat(found.type || "any").join(" | ");
}

// A sketch as text: types stand bare, only constants are in quotation marks.
function written(shape, indent = "") {
  const deeper = indent + "  ";
  if (Array.isArray(shape)) return `[${written(shape[0], indent)}]`;
  if (typeof shape !== "object" || shape === null) return String(shape);
  const lines = Object.entries(shape).map(([name, value]) => `${deeper}${name}: ${written(value, deeper)}`);
  return lines.length ? `{\n${lines.join(",\n")}\n${indent}}` : "{}";
}

// Words with `code` in them.
function prose(text) {
  const parts = text.split("`").map((part, at) => at % 2 ? element("code", { textContent: part }) : part);
  return element("span", { className: "what" }, ...parts);
}

function block(title, schema, api) {
  if (!schema) return null;
  const text = written(sketch(schema, api));
  return element("div", {}, element("h4", { textContent: title }), element("pre", { textContent: text }));
}

function parameters(operation, api) {
  const rows = (operation.parameters || []).map((parameter) =>
    element("tr", {},
      element("td", {}, element("code", { textContent: parameter.name })),
      element("td", { textContent: parameter.in }),
      element("td", { textContent: written(sketch(parameter.schema, api)) })));
  return rows.length ? element("table", {}, ...rows) : null;
}

function draw(path, method, operation, api) {
  const body = Object.values(operation.requestBody?.content || {})[0];
  const answer = Object.values(operation.responses?.["200"]?.content || {})[0];
  return element("details", {},
    element("summary", {},
      element("span", { className: "method", textContent: method.toUpperCase() }),
      element("code", { textContent: path }), " ",
      prose(operation.description || operation.summary || "")),
    parameters(operation, api),
    block("Body", body?.schema, api),
    block("Answer", answer?.schema, api));
}

async function main() {
  const place = document.getElementById("operations");
  const answer = await fetch("/docs/openapi.json");
  if (!answer.ok) throw new Error(`openapi.json: ${answer.status}`);
  const api = await answer.json();
  const sections = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = (item[method].tags || ["other"])[0];
      if (!sections.has(tag)) sections.set(tag, [element("h2", { textContent: tag })]);
      sections.get(tag).push(draw(path, method, item[method], api));
    }
  }
  place.replaceChildren(...[...sections.values()].flat());
}

main().catch((error) => {
  document.getElementById("operations").textContent = `The description cannot be shown: ${error.message}`;
});

// A change of the form written into the YAML that is there: its comments, its order, its version and what is written out though it is a default stay.
import { type Document, isMap, isNode, isSeq, parseDocument, type YAMLMap } from "yaml";
import { type Draft, item, same, type Step, yamlOf } from "./recipe";

const KINDS = [
  ["stages", "method"],
  ["evaluations", "suite"],
  ["exports", "format"],
] as const;

/** `text`, which says `before`, made to say `after`. Where it is no mapping of lists of steps, or none are left, it is written anew. */
export function rewritten(text: string, before: Draft, after: Draft): string {
  if (KINDS.every(([kind]) => after[kind].length === 0)) return yamlOf(after);
  try {
    return changed(text, before, after) ?? yamlOf(after);
  } catch {
    return yamlOf(after); // an alias whose anchor went with its step
  }
}

/** The recipe under another name, where it says one; empty: without. */
export function renamed(text: string, name: string): string {
  const document = parseDocument(text, { intAsBigInt: true });
  if (document.errors.length > 0 || !isMap(document.contents) || !document.has("name")) return text;
  if (name) document.set("name", name);
  else document.delete("name");
  return document.toString(AS_IT_IS);
}

const AS_IT_IS = { lineWidth: 0, flowCollectionPadding: false };

const itemsOf = (list: unknown) => (isSeq(list) ? list.items : []);

function changed(text: string, before: Draft, after: Draft): string | undefined {
  const document = parseDocument(text, { intAsBigInt: true }); // a seed may be beyond 2^53
  const steps = KINDS.map(([kind]) => itemsOf(document.get(kind)).length);
  if (document.errors.length > 0 || !isMap(document.contents) || KINDS.some(([kind], i) => steps[i] !== before[kind].length)) return undefined;
  for (const [kind, word] of KINDS) {
    if (before[kind] === after[kind]) continue;
    const list = document.get(kind);
    const nodes = itemsOf(list);
    const [first] = nodes;
    if (isSeq(list) && isNode(first) && !first.commentBefore) {
      first.commentBefore = list.commentBefore; // what stands above the first step is about it
      list.commentBefore = undefined;
    }
    const items = after[kind].map((step) => {
      const at = before[kind].findIndex((old) => old.key === step.key);
      const node = nodes[at];
      if (node !== undefined && before[kind][at] === step) return node;
      if (isMap(node)) return change(document, node, before[kind][at], step);
      const made = document.createNode(Object.fromEntries(item(word, step)));
      const params = made.get("params");
      if (isMap(params)) params.flow = true;
      if (isNode(node)) Object.assign(made, { comment: node.comment, commentBefore: node.commentBefore });
      return made;
    });
    if (items.length === 0) document.delete(kind);
    else if (isSeq(list)) list.items = items;
    else document.set(kind, document.createNode(items));
  }
  return document.toString(AS_IT_IS);
}

/** What differs between two steps of one key, in the mapping that says the first. */
function change(document: Document, node: YAMLMap, before: Step, after: Step): YAMLMap {
  for (const name of new Set([...Object.keys(before.params), ...Object.keys(after.params)])) {
    const value = after.params[name];
    if (same(before.params[name], value)) continue;
    if (value === undefined) node.deleteIn(["params", name]);
    else if (isMap(node.get("params"))) node.setIn(["params", name], document.createNode(value));
    else node.set("params", document.createNode({ [name]: value }, { flow: true }));
  }
  const params = node.get("params");
  if (isMap(params) && params.items.length === 0) node.delete("params");
  for (const name of ["targets", "ignore", "when"] as const) {
    if (same(before[name], after[name])) continue;
    if (after[name] === undefined) node.delete(name);
    else node.set(name, document.createNode(after[name], { flow: true }));
  }
  return node;
}

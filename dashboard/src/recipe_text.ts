// A change of the form written into the YAML that is there: its comments, its order and what the form does not know stay.
import { type Document, isMap, isNode, isSeq, parseDocument, type YAMLMap } from "yaml";
import { type Draft, item, same, type Step, yamlOf } from "./recipe";

const KINDS = [
  ["stages", "method"],
  ["evaluations", "suite"],
  ["exports", "format"],
] as const;

/** `text`, which says `before`, made to say `after`. Where it is no list of steps it is written anew. */
export function rewritten(text: string, before: Draft, after: Draft): string {
  if (!text.includes("#")) return yamlOf(after); // nothing would be lost
  const document = parseDocument(text);
  if (document.errors.length > 0 || !isMap(document.contents)) return yamlOf(after);
  for (const [kind, word] of KINDS) {
    if (before[kind] === after[kind]) continue;
    const list = document.get(kind);
    const nodes = isSeq(list) ? list.items : [];
    if (nodes.length !== before[kind].length) return yamlOf(after);
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
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
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

// YAML with colours, and what differs between two of them. Names stay text: the colours are elements made of a tree.
import { diffLines } from "diff";
import yaml from "highlight.js/lib/languages/yaml";
import { createLowlight } from "lowlight";
import { type ComponentProps, Fragment, type ReactNode, useMemo } from "react";

const lowlight = createLowlight({ yaml });

type Node = ReturnType<typeof lowlight.highlight>["children"][number];

function shown(node: Node, key: number): ReactNode {
  if (node.type === "text") return node.value;
  if (node.type !== "element") return null;
  return (
    <span key={key} className={(node.properties.className as string[] | undefined)?.join(" ")}>
      {node.children.map((child, i) => shown(child as Node, i))}
    </span>
  );
}

const Colored = ({ text }: { text: string }) => <>{lowlight.highlight("yaml", text).children.map(shown)}</>;

export function Code({ label, text }: { label: string; text: string }) {
  const colored = useMemo(() => <Colored text={text} />, [text]);
  return (
    <pre className="code" tabIndex={0} aria-label={label}>
      {colored}
    </pre>
  );
}

/** From `before` to `after`, line by line; what both have stays where it is. */
export function Diff({ label, before, after }: { label: string; before: string; after: string }) {
  const parts = useMemo(() => diffLines(before, after), [before, after]);
  if (parts.every((part) => !part.added && !part.removed)) return <p className="muted">Both say the same.</p>;
  return (
    <pre className="code diff" tabIndex={0} aria-label={label}>
      {parts.map((part, i) => {
        const lines = part.value.replace(/\n$/, "").split("\n");
        const Tag = part.added ? "ins" : part.removed ? "del" : Fragment;
        return lines.map((line, k) => (
          <Tag key={`${i}-${k}`}>
            <span className="diff-mark">{part.added ? "+ " : part.removed ? "- " : "  "}</span>
            <Colored text={line} />
            {"\n"}
          </Tag>
        ));
      })}
    </pre>
  );
}

/** YAML that is written, with the same colours: the text area's own letters are clear, and lie on the coloured ones. */
export function YamlEdit({ text, rows, ...rest }: { text: string; rows: number } & Omit<ComponentProps<"textarea">, "value">) {
  const colored = useMemo(() => <Colored text={text} />, [text]);
  return (
    <div className="field yaml-edit" aria-invalid={rest["aria-invalid"]}>
      <pre aria-hidden style={{ minHeight: `calc(${rows} * 1lh)` }}>
        {text ? colored : <span className="muted">{rest.placeholder}</span>}
        {"\n"}
      </pre>
      <textarea spellCheck={false} autoCapitalize="off" value={text} {...rest} placeholder="" />
    </div>
  );
}

// A field of a form with its name above and its help, or what is wrong with it, below.
import { useId } from "react";

export interface Ids {
  id: string;
  labelledBy: string;
  describedBy: string;
  invalid: boolean;
}
export const inputIds = (ids: Ids) => ({ id: ids.id, "aria-describedby": ids.describedBy, "aria-invalid": ids.invalid || undefined });

export function Labelled({
  label,
  help,
  error,
  children,
}: {
  label: string;
  help: string;
  error?: string;
  children: (ids: Ids) => React.ReactNode;
}) {
  const id = useId();
  return (
    <div className="labelled">
      <label id={`${id}-label`} htmlFor={id}>
        {label}
      </label>
      {children({ id, labelledBy: `${id}-label`, describedBy: `${id}-help`, invalid: error !== undefined })}
      <p id={`${id}-help`} className={error ? "bad-text small" : "muted small"}>
        {error ?? help}
      </p>
    </div>
  );
}

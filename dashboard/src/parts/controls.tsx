// Controls in our clothes: the component kit's, and the browser's own check box.
import { AlertDialog } from "@base-ui/react/alert-dialog";
import { Select } from "@base-ui/react/select";
import { Toggle } from "@base-ui/react/toggle";
import { ToggleGroup } from "@base-ui/react/toggle-group";
import { type ReactNode, useEffect, useState } from "react";

export interface Option {
  value: string;
  label: string;
  detail?: string;
}

export const Tick = () => (
  <svg width="12" height="12" viewBox="0 0 12 12" fill="none" stroke="currentColor" strokeWidth="2" aria-hidden>
    <path d="M2 6.5 5 9l5-6" />
  </svg>
);

export const Caret = () => (
  <svg width="10" height="10" viewBox="0 0 10 10" fill="none" stroke="currentColor" strokeWidth="1.5" aria-hidden>
    <path d="m2 3.5 3 3 3-3" />
  </svg>
);

/** One of several, in a list that opens. */
export function Choice({
  label,
  labelledBy,
  describedBy,
  id,
  value,
  options,
  onChange,
  invalid,
  placeholder,
}: {
  label?: string;
  labelledBy?: string;
  describedBy?: string;
  id?: string;
  value: string;
  options: Option[];
  onChange: (value: string) => void;
  invalid?: boolean;
  placeholder?: string;
}) {
  return (
    <Select.Root items={options} value={value === "" ? null : value} onValueChange={(next) => onChange(next as string)} modal={false}>
      <Select.Trigger
        className="field select"
        id={id}
        aria-label={label}
        aria-labelledby={labelledBy}
        aria-describedby={describedBy}
        aria-invalid={invalid || undefined}
      >
        <Select.Value placeholder={placeholder ?? "Choose"} />
        <Select.Icon className="select-icon">
          <Caret />
        </Select.Icon>
      </Select.Trigger>
      <Select.Portal>
        <Select.Positioner sideOffset={4} alignItemWithTrigger={false} className="popup-place">
          <Select.Popup className="popup">
            <Select.List className="popup-list">
              {options.map((option) => (
                <Select.Item key={option.value} value={option.value} className="popup-item">
                  <Select.ItemText>{option.label}</Select.ItemText>
                  {option.detail && <span className="muted small">{option.detail}</span>}
                  <Select.ItemIndicator className="popup-tick">
                    <Tick />
                  </Select.ItemIndicator>
                </Select.Item>
              ))}
            </Select.List>
          </Select.Popup>
        </Select.Positioner>
      </Select.Portal>
    </Select.Root>
  );
}

/** One of a few, all in sight. */
export function Segments({
  label,
  labelledBy,
  describedBy,
  value,
  options,
  onChange,
}: {
  label?: string;
  labelledBy?: string;
  describedBy?: string;
  value: string;
  options: Option[];
  onChange: (value: string) => void;
}) {
  return (
    <ToggleGroup
      className="segments"
      aria-label={label}
      aria-labelledby={labelledBy}
      aria-describedby={describedBy}
      value={[value]}
      onValueChange={(next) => next.length > 0 && onChange(next[0] as string)}
    >
      {options.map((option) => (
        <Toggle key={option.value} value={option.value} className="segment">
          {option.label}
        </Toggle>
      ))}
    </ToggleGroup>
  );
}

export function Check({
  label,
  checked,
  some,
  onChange,
  hidden,
  disabled,
  id,
  describedBy,
}: {
  label: string;
  checked: boolean;
  some?: boolean; // of what it stands for, where not all is
  onChange: (checked: boolean) => void;
  hidden?: boolean;
  disabled?: boolean;
  id?: string;
  describedBy?: string;
}) {
  const box = (
    <input
      type="checkbox"
      className="checkbox"
      id={id}
      checked={checked}
      disabled={disabled}
      ref={(input) => {
        if (input) input.indeterminate = Boolean(some && !checked);
      }}
      onChange={(event) => onChange(event.target.checked)}
      aria-label={hidden ? label : undefined}
      aria-describedby={describedBy}
    />
  );
  return hidden ? (
    box
  ) : (
    <label className="check">
      {box} {label}
    </label>
  );
}

/** Asks before it does something. Without a `trigger`: as long as it is `open`. */
export function Confirm({
  trigger,
  open,
  onOpenChange,
  className,
  title,
  children,
  action,
  keep = "Keep it",
  onConfirm,
  disabled,
}: {
  trigger?: ReactNode;
  open?: boolean;
  onOpenChange?: (open: boolean) => void;
  className?: string;
  title: string;
  children: ReactNode;
  action: string;
  keep?: string;
  onConfirm: () => void;
  disabled?: boolean;
}) {
  return (
    <AlertDialog.Root open={open} onOpenChange={onOpenChange}>
      {trigger && (
        <AlertDialog.Trigger className={className ?? "button"} disabled={disabled}>
          {trigger}
        </AlertDialog.Trigger>
      )}
      <AlertDialog.Portal>
        <AlertDialog.Backdrop className="backdrop" />
        <AlertDialog.Popup className="dialog">
          <AlertDialog.Title className="dialog-title">{title}</AlertDialog.Title>
          <AlertDialog.Description className="dialog-text">{children}</AlertDialog.Description>
          <div className="dialog-actions">
            <AlertDialog.Close className="button">{keep}</AlertDialog.Close>
            <AlertDialog.Close className="button danger" onClick={onConfirm}>
              {action}
            </AlertDialog.Close>
          </div>
        </AlertDialog.Popup>
      </AlertDialog.Portal>
    </AlertDialog.Root>
  );
}

/** Asks once typing has paused. */
export function NameFilter({ name, onChange }: { name: string; onChange: (name: string) => void }) {
  const [text, setText] = useState(name);
  useEffect(() => setText(name), [name]);
  useEffect(() => {
    if (text === name) return;
    const timer = setTimeout(() => onChange(text), 250);
    return () => clearTimeout(timer);
  });
  return <SearchField label="Filter by name" text={text} onChange={setText} />;
}

export function SearchField({ label, text, onChange }: { label: string; text: string; onChange: (text: string) => void }) {
  return (
    <input
      className="field search"
      type="search"
      placeholder={label}
      aria-label={label}
      value={text}
      onChange={(event) => onChange(event.target.value)}
    />
  );
}

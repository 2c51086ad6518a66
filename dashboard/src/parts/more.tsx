// What is seldom done, behind a button of its own: deleting, after a question.
import { Menu } from "@base-ui/react/menu";
import { type ComponentProps, useState } from "react";
import { Confirm } from "./controls";

export function DeleteMenu({ disabled, ...question }: Omit<ComponentProps<typeof Confirm>, "trigger" | "open" | "onOpenChange">) {
  const [asks, setAsks] = useState(false);
  return (
    <>
      <Menu.Root modal={false}>
        <Menu.Trigger className="button" aria-label="More">
          <svg width="14" height="14" viewBox="0 0 14 14" fill="currentColor" aria-hidden>
            <circle cx="2.5" cy="7" r="1.4" />
            <circle cx="7" cy="7" r="1.4" />
            <circle cx="11.5" cy="7" r="1.4" />
          </svg>
        </Menu.Trigger>
        <Menu.Portal>
          <Menu.Positioner sideOffset={4} align="end" className="popup-place">
            <Menu.Popup className="popup">
              <Menu.Item className="popup-item" disabled={disabled} onClick={() => setAsks(true)}>
                Delete
              </Menu.Item>
            </Menu.Popup>
          </Menu.Positioner>
        </Menu.Portal>
      </Menu.Root>
      <Confirm {...question} open={asks} onOpenChange={setAsks} />
    </>
  );
}

// A button that copies a text to where it is to be pasted.
import { toasts } from "./toast";

// Over plain HTTP from another machine a browser gives a page no clipboard.
const write = (text: string) => navigator.clipboard?.writeText(text) ?? Promise.reject();

/** A text that is to be taken elsewhere, without selecting it. */
export function Copy({ text, what }: { text: string | (() => string); what: string }) {
  return (
    <button
      type="button"
      className="copy"
      aria-label={`Copy ${what}`}
      title={`Copy ${what}`}
      onClick={() =>
        write(typeof text === "string" ? text : text()).then(
          () => toasts.add({ title: `Copied: ${what}` }),
          () => toasts.add({ title: "The browser lets this page copy nothing", description: "Select the text, and copy it by hand.", type: "bad" }),
        )
      }
    >
      <svg width="13" height="13" viewBox="0 0 14 14" fill="none" stroke="currentColor" strokeWidth="1.4" aria-hidden>
        <rect x="4.5" y="4.5" width="8" height="8" rx="1.5" />
        <path d="M9.5 4.5v-2a1 1 0 0 0-1-1h-6a1 1 0 0 0-1 1v6a1 1 0 0 0 1 1h2" />
      </svg>
    </button>
  );
}

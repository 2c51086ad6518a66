// Short answers to what was just done.
import { Toast } from "@base-ui/react/toast";
import { Problem } from "../api";

export const toasts = Toast.createToastManager();

export const messageOf = (error: unknown) => (error instanceof Problem ? error.message : String(error));

/** The answer to a call that failed. */
export function tellFailure(error: unknown) {
  const problem = error instanceof Problem ? error : new Problem(0, "UNEXPECTED", String(error));
  toasts.add({ title: problem.message, description: problem.hint, type: "bad", priority: "high" });
}

function List() {
  const { toasts: shown } = Toast.useToastManager();
  return shown.map((toast) => (
    <Toast.Root key={toast.id} toast={toast} className="toast">
      <Toast.Title className="toast-title" />
      <Toast.Description className="small muted" />
      <Toast.Close className="toast-close" aria-label="Close">
        ×
      </Toast.Close>
    </Toast.Root>
  ));
}

export function Toasts() {
  return (
    <Toast.Provider toastManager={toasts} timeout={6000}>
      <Toast.Portal>
        <Toast.Viewport className="toasts">
          <List />
        </Toast.Viewport>
      </Toast.Portal>
    </Toast.Provider>
  );
}

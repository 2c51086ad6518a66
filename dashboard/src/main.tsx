// The page's frame: navigation, theme, and which view an address shows.
import { CSPProvider } from "@base-ui/react/csp-provider";
import { QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { Component, lazy, type ReactNode, StrictMode, Suspense, useEffect, useRef } from "react";
import { createRoot } from "react-dom/client";
import { Link, Redirect, Route, Switch, useLocation } from "wouter";
import { Problem } from "./api";
import { Jobs } from "./pages/Jobs";
import { Empty, Failure, Loading, useTitle } from "./parts/basics";
import { Segments } from "./parts/controls";
import { Account, LoggedIn, useLoggedOut } from "./parts/session";
import { Toasts } from "./parts/toast";
import "@fontsource-variable/inter/wght.css";
import "./styles.css";
import { applyTheme, setTheme, type Theme, useTheme } from "./theme";

const JobPage = lazy(() => import("./pages/Job"));
const Compare = lazy(() => import("./pages/Compare"));
const Sweeps = lazy(() => import("./pages/Sweeps"));
const SweepPage = lazy(() => import("./pages/Sweep"));
const NewSweep = lazy(() => import("./pages/NewSweep"));
const Submit = lazy(() => import("./pages/Submit"));
const Artifacts = lazy(() => import("./pages/Artifacts"));
const ArtifactPage = lazy(() => import("./pages/Artifact"));
const Workers = lazy(() => import("./pages/Workers"));
const Try = lazy(() => import("./pages/Try"));
const Access = lazy(() => import("./pages/Access"));

const client: QueryClient = new QueryClient({
  // A token may end while the page is open: then its holder logs in again.
  queryCache: new QueryCache({
    onError: (error) => error instanceof Problem && error.status === 401 && client.invalidateQueries({ queryKey: ["session"] }),
  }),
  defaultOptions: {
    // The server may be this machine, which is reached without any network.
    mutations: { networkMode: "always" },
    queries: {
      networkMode: "always",
      staleTime: 1000,
      // What the request itself is wrong about stays wrong.
      retry: (count, error) => count < 2 && !(error instanceof Problem && error.status >= 400 && error.status < 500),
    },
  },
});

const VIEWS = [
  ["/jobs", "Jobs"],
  ["/sweeps", "Sweeps"],
  ["/compare", "Compare"],
  ["/submit", "New job"],
  ["/artifacts", "Artifacts"],
  ["/try", "Try it"],
  ["/workers", "Workers"],
  ["/access", "Access"],
];

/** A new view begins at its top, and with the keyboard: what was followed to it is gone. Going back is the browser's. */
function useArrival(location: string) {
  const shown = useRef(location);
  const back = useRef("");
  useEffect(() => {
    const note = () => (back.current = window.location.pathname);
    addEventListener("popstate", note, true); // before the view changes
    return () => removeEventListener("popstate", note, true);
  }, []);
  useEffect(() => {
    const from = shown.current;
    shown.current = location;
    if (from === location) return;
    if (from !== "/") document.getElementById("main")?.focus({ preventScroll: true });
    if (back.current !== location) scrollTo(0, 0);
    back.current = "";
  }, [location]);
}

function Nav({ location }: { location: string }) {
  const nav = useRef<HTMLElement>(null);
  // On a phone the names are wider than the screen: that of the view is in the middle. The page stays where it is, as by scrollIntoView it would not.
  useEffect(() => {
    const here = nav.current!.querySelector<HTMLElement>("[aria-current]");
    if (here) nav.current!.scrollLeft = here.offsetLeft - (nav.current!.clientWidth - here.offsetWidth) / 2;
  }, [location]);
  return (
    <nav ref={nav} aria-label="Views">
      {VIEWS.map(([path, name]) => (
        <Link key={path} href={path} className="nav" aria-current={location.startsWith(path) ? "page" : undefined}>
          {name}
        </Link>
      ))}
    </nav>
  );
}

function NotFound() {
  useTitle("Not found");
  return (
    <Empty title="There is nothing here">
      <Link href="/jobs">To the jobs</Link>
    </Empty>
  );
}

/** Where a view's script could not be fetched, or failed: the rest of the page stays. */
class Caught extends Component<{ children: ReactNode }, { error?: unknown }> {
  state: { error?: unknown } = {};
  static getDerivedStateFromError = (error: unknown) => ({ error });
  render() {
    if (this.state.error === undefined) return this.props.children;
    const problem = new Problem(0, "VIEW_NOT_LOADED", "This view could not be shown.", "", "Is wring-server running? Was it replaced by another release?");
    return <Failure error={problem} retry={() => window.location.reload()} />;
  }
}

function Frame() {
  const [location] = useLocation();
  const theme = useTheme();
  useArrival(location);
  const out = useLoggedOut();
  return (
    <>
      <a className="skip" href="#main">
        Skip to content
      </a>
      <header className="side">
        <Link href="/jobs" className="brand" aria-label="Wring, jobs">
          <svg width="20" height="20" viewBox="0 0 32 32" aria-hidden>
            <rect width="32" height="32" rx="7" className="brand-back" />
            <path d="M6 9h20M9 14h14M12 19h8M14.5 24h3" stroke="#fff" strokeWidth="2.6" strokeLinecap="round" />
          </svg>
          Wring
        </Link>
        {!out && <Nav location={location} />}
        <div className="side-end">
          <Account />
          <Segments
            label="Theme"
            value={theme}
            onChange={(next) => setTheme(next as Theme)}
            options={[
              { value: "light", label: "Light" },
              { value: "dark", label: "Dark" },
              { value: "system", label: "Auto" },
            ]}
          />
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        <LoggedIn>
          <Caught key={location}>
            <Suspense fallback={<Loading />}>
              <Switch>
                <Route path="/jobs" component={Jobs} />
                <Route path="/jobs/:id">{({ id }) => <JobPage key={id} id={id} />}</Route>
                <Route path="/sweeps" component={Sweeps} />
                <Route path="/sweeps/new" component={NewSweep} />
                <Route path="/sweeps/:id">{({ id }) => <SweepPage key={id} id={id} />}</Route>
                <Route path="/compare" component={Compare} />
                <Route path="/submit" component={Submit} />
                <Route path="/artifacts" component={Artifacts} />
                <Route path="/artifacts/:digest">{({ digest }) => <ArtifactPage key={digest} digest={digest} />}</Route>
                <Route path="/workers" component={Workers} />
                <Route path="/try" component={Try} />
                <Route path="/access" component={Access} />
                <Route path="/">
                  <Redirect to="/jobs" replace />
                </Route>
                <Route component={NotFound} />
              </Switch>
            </Suspense>
          </Caught>
        </LoggedIn>
      </main>
      <Toasts />
    </>
  );
}

applyTheme();
createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <CSPProvider disableStyleElements>
      <QueryClientProvider client={client}>
        <Frame />
      </QueryClientProvider>
    </CSPProvider>
  </StrictMode>,
);

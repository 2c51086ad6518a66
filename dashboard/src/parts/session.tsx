// Who looks: logging in where the server asks for a token, and out again.
import { type QueryClient, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Link } from "wouter";
import { get, type Problem, post, type Session } from "../api";
import { Loading, useTitle } from "./basics";
import { Copy } from "./copy";
import { draftsAreOf, forgetDrafts } from "./draft";

const KEY = ["session"];

function useSession() {
  return useQuery({ queryKey: KEY, queryFn: () => get<Session>("session").then(noted), refetchInterval: 30_000 });
}

/** Before anything is shown to him. */
function noted(session: Session) {
  if (session.caller) draftsAreOf(session.caller);
  return session;
}

/** Whether there is nothing to see before somebody logs in. */
export function useLoggedOut(): boolean {
  const { data } = useSession();
  return Boolean(data?.login && !data.caller);
}

const SCOPES = ["viewer", "submitter", "admin"];

/** Why the caller may not do what needs this scope; empty: he may. */
export function useBarred(needed: "submitter" | "admin"): string {
  const { data } = useSession();
  if (!data?.login || SCOPES.indexOf(data.scope) >= SCOPES.indexOf(needed)) return "";
  return `Your token is a ${data.scope}’s: this takes a ${needed}’s.`;
}

/** To a form, for who may hand in what it makes; to all others it says why not. */
export function NewLink({ href, children }: { href: string; children: string }) {
  const barred = useBarred("submitter");
  if (!barred)
    return (
      <Link href={href} className="button primary">
        {children}
      </Link>
    );
  return (
    <div className="head-actions">
      <span id="barred" className="muted small">
        {barred}
      </span>
      <button className="button" disabled aria-describedby="barred">
        {children}
      </button>
    </div>
  );
}

/** What it holds is shown once the server lets this browser in. */
export function LoggedIn({ children }: { children: ReactNode }) {
  const { isPending } = useSession();
  const out = useLoggedOut();
  if (isPending) return <Loading />;
  return (
    <>
      <Secret />
      {out ? <Login /> : children}
    </>
  );
}

interface Made {
  name: string;
  secret: string;
}
const SECRET = [...KEY, "secret"];

/** Shows a new token's secret on top of every view, the login too, until somebody says that he has it. */
export const showSecret = (client: QueryClient, made: Made) => client.setQueryData(SECRET, made);

function Secret() {
  const client = useQueryClient();
  const { data } = useQuery<Made>({ queryKey: SECRET, queryFn: () => Promise.reject(), enabled: false });
  if (!data) return null;
  return (
    <div className="notice" role="status">
      <strong>The secret of {data.name}. It is shown this once.</strong> <Copy text={data.secret} what="the secret" />
      <pre className="command" tabIndex={0} aria-label="Secret">
        {data.secret}
      </pre>
      <button className="button" onClick={() => client.resetQueries({ queryKey: SECRET })}>
        I have kept it
      </button>
    </div>
  );
}

/** Whose project's things he sees; empty: all projects'. */
export const useOwnProject = () => useSession().data?.project ?? "";

// What somebody else was shown is forgotten.
function takeSession(client: QueryClient, session: Session) {
  client.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== KEY[0] });
  client.setQueryData(KEY, noted(session));
}

function Login() {
  useTitle("Log in");
  const client = useQueryClient();
  const [token, setToken] = useState("");
  const login = useMutation<Session, Problem, string>({
    mutationFn: (secret) => post<Session>("login", { token: secret }),
    onSuccess: (session) => takeSession(client, session),
  });
  return (
    <form
      className="card login"
      onSubmit={(event) => {
        event.preventDefault();
        login.mutate(token.trim());
      }}
    >
      <h1>Log in</h1>
      <label htmlFor="token">Token</label>
      <input
        id="token"
        className="field"
        type="password"
        autoComplete="current-password"
        required
        value={token}
        onChange={(event) => setToken(event.target.value)}
        aria-invalid={login.isError || undefined}
        aria-describedby="token-help"
      />
      <p id="token-help" className={login.isError ? "notice bad" : "muted small"} role={login.isError ? "alert" : undefined}>
        {login.isError ? login.error.message : "An admin makes one with wring tokens create."}
      </p>
      <button className="button primary wide" disabled={login.isPending}>
        Log in
      </button>
    </form>
  );
}

/** Whose token this is; nothing on a server that asks for none. */
export function Account() {
  const { data } = useSession();
  const client = useQueryClient();
  const logout = useMutation({
    mutationFn: () => post<Session>("logout", {}),
    onSuccess: (session) => {
      forgetDrafts();
      client.resetQueries({ queryKey: SECRET });
      takeSession(client, session);
    },
  });
  if (!data?.caller || !data.login) return null;
  return (
    <div className="account small">
      <span className="muted">
        {data.scope}, {data.project || "all projects"}
      </span>
      <button className="button quiet" onClick={() => logout.mutate()}>
        Log out
      </button>
    </div>
  );
}

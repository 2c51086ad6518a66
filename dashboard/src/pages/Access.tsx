// Who may have what: projects with their quotas, and the tokens that callers come with.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useId, useState } from "react";
import { listed, type Project, post, type Quota, serverNow, type Session, type Token } from "../api";
import { bytes } from "../format";
import { Empty, Failure, Loaded, More, Table, Time, useTitle } from "../parts/basics";
import { Choice, Confirm } from "../parts/controls";
import { inputIds, Labelled } from "../parts/labelled";
import { showSecret, useBarred } from "../parts/session";
import { tellFailure, toasts } from "../parts/toast";

const SCOPES = [
  { value: "viewer", label: "Viewer", detail: "reads" },
  { value: "submitter", label: "Submitter", detail: "also submits, uploads, deletes" },
  { value: "admin", label: "Admin", detail: "may do everything" },
  { value: "worker", label: "Worker", detail: "takes jobs, on this machine" },
];

export default function Access() {
  useTitle("Access");
  const barred = useBarred("admin");
  return (
    <>
      <div className="head">
        <div className="head-title">
          <h1>Access</h1>
          {barred && <p className="muted small">{barred} Without it quotas and tokens stay as they are.</p>}
        </div>
      </div>
      <Projects barred={barred} />
      {!barred && <Tokens />}
    </>
  );
}

function Projects({ barred }: { barred: string }) {
  const query = useQuery({
    queryKey: ["projects"],
    queryFn: () => listed<Project>("projects", "projects"),
    refetchInterval: 3000,
  });
  const [edited, setEdited] = useState("");
  const [last, setLast] = useState(""); // that was edited: the keyboard goes on there
  const [other, setOther] = useState(""); // that has nothing to do yet, and is to have a quota
  const edit = (name: string) => {
    setEdited(name);
    if (name) setLast(name);
  };
  return (
    <section aria-labelledby="projects">
      <h2 id="projects">Projects</h2>
      <Loaded query={query} rows={2}>
        {({ all, more }) => {
          const projects = other && !all.some(({ name }) => name === other) ? [...all, { name: other, queued: "0", running: "0", bytes: "0", paused: false }] : all;
          return projects.length === 0 ? (
            <Empty title="No project has anything to do">
              <p className="muted">One is here while it has a job that has not ended, is paused, or has a quota.</p>
            </Empty>
          ) : (
            <>
              <Table label="Projects">
                <thead>
                  <tr>
                    <th>Project</th>
                    <th className="number">Queued</th>
                    <th className="number">Running</th>
                    <th className="number">Stored</th>
                    <th>
                      <span className="sr">Change</span>
                    </th>
                  </tr>
                </thead>
                <tbody>
                  {projects.map((project) =>
                    edited === project.name ? (
                      <EditQuota key={project.name} project={project} done={() => edit("")} />
                    ) : (
                      <ProjectRow key={project.name} project={project} barred={barred} edited={last === project.name} edit={() => edit(project.name)} />
                    ),
                  )}
                </tbody>
              </Table>
              <More more={more} count={projects.length} />
            </>
          );
        }}
      </Loaded>
      {!barred && (
        <OtherProject
          edit={(name) => {
            setOther(name);
            edit(name);
          }}
        />
      )}
    </section>
  );
}

/** For a project that has nothing to do yet. */
function OtherProject({ edit }: { edit: (name: string) => void }) {
  const [name, setName] = useState("");
  return (
    <form
      className="tools"
      onSubmit={(event) => {
        event.preventDefault();
        edit(name.trim());
        setName("");
      }}
    >
      <input className="field" aria-label="Another project" placeholder="Another project" value={name} onChange={(event) => setName(event.target.value)} />
      <button className="button" disabled={!name.trim()}>
        Limit it
      </button>
    </form>
  );
}

const limited = (value: string, limit: string | undefined, show = (v: string) => v) =>
  Number(limit ?? 0) > 0 ? (
    <>
      {show(value)} <span className="muted">of {show(limit!)}</span>
    </>
  ) : (
    show(value)
  );

function ProjectRow({ project, barred, edited, edit }: { project: Project; barred: string; edited: boolean; edit: () => void }) {
  const client = useQueryClient();
  const submitterBarred = useBarred("submitter");
  const pause = useMutation({
    mutationFn: () => post<Project>(`projects/${encodeURIComponent(project.name)}/${project.paused ? "resume" : "pause"}`, {}),
    onSuccess: () => client.invalidateQueries({ queryKey: ["projects"] }),
    onError: tellFailure,
  });
  return (
    <tr>
      <td>
        <span className="strong">{project.name}</span>
        {project.paused && <span className="tag">paused</span>}
      </td>
      <td className="number">{limited(project.queued, project.quota?.queued)}</td>
      <td className="number">{limited(project.running, project.quota?.running)}</td>
      <td className="number">{limited(project.bytes, project.quota?.bytes, bytes)}</td>
      <td className="number">
        {!submitterBarred && (
          <button className="button quiet" disabled={pause.isPending} onClick={() => pause.mutate()}>
            {project.paused ? "Resume" : "Pause"}
          </button>
        )}
        {!barred && (
          <button className="button quiet" autoFocus={edited} onClick={edit}>
            Quota
          </button>
        )}
      </td>
    </tr>
  );
}

/** Gigabytes in the form, bytes to the server. */
function EditQuota({ project, done }: { project: Project; done: () => void }) {
  const client = useQueryClient();
  const [queued, setQueued] = useState(project.quota?.queued ?? "0");
  const [running, setRunning] = useState(project.quota?.running ?? "0");
  const [gigabytes, setGigabytes] = useState(String(Number(project.quota?.bytes ?? 0) / 1e9));
  const save = useMutation({
    mutationFn: () => {
      const quota: Quota = { queued: queued || "0", running: running || "0", bytes: String(Math.round(Number(gigabytes) * 1e9)) };
      return post<Project>(`projects/${encodeURIComponent(project.name)}/quota`, { quota });
    },
    onSuccess: () => {
      done();
      return client.invalidateQueries({ queryKey: ["projects"] });
    },
    onError: tellFailure,
  });
  const form = useId();
  const field = (label: string, value: string, change: (value: string) => void, step = "1") => (
    <input
      form={form}
      autoFocus={change === setQueued}
      className="field quota"
      type="number"
      min={0}
      step={step}
      aria-label={`${label} of ${project.name}; 0: no limit`}
      value={value}
      onChange={(event) => change(event.target.value)}
    />
  );
  return (
    <tr onKeyDown={(event) => event.key === "Escape" && done()}>
      <td className="strong">{project.name}</td>
      <td className="number">{field("Queued jobs", queued, setQueued)}</td>
      <td className="number">{field("Running jobs", running, setRunning)}</td>
      <td className="number">
        {field("Gigabytes", gigabytes, setGigabytes, "any")} <span className="muted">GB</span>
      </td>
      <td className="number">
        <form
          id={form}
          onSubmit={(event) => {
            event.preventDefault();
            save.mutate();
          }}
        >
          <button className="button primary" disabled={save.isPending}>
            Save
          </button>
          <button type="button" className="button quiet" onClick={done}>
            Back
          </button>
        </form>
      </td>
    </tr>
  );
}

function Tokens() {
  const query = useQuery({ queryKey: ["tokens"], queryFn: () => listed<Token>("tokens", "tokens"), refetchInterval: 10_000 });
  return (
    <section className="block" aria-labelledby="tokens">
      <h2 id="tokens">Tokens</h2>
      <Loaded query={query} rows={2}>
        {({ all: tokens, more }) => (
          <>
            {tokens.length === 0 ? (
              <p className="muted">There is none: everybody who reaches this server may do everything. The first one is an admin’s, and closes it.</p>
            ) : (
              <>
                <Table label="Tokens">
                  <thead>
                    <tr>
                      <th>Name</th>
                      <th>Scope</th>
                      <th>Project</th>
                      <th>Made</th>
                      <th>Ends</th>
                      <th>
                        <span className="sr">Revoke</span>
                      </th>
                    </tr>
                  </thead>
                  <tbody>
                    {tokens.map((token) => (
                      <TokenRow key={token.id} token={token} />
                    ))}
                  </tbody>
                </Table>
                <More more={more} count={tokens.length} />
              </>
            )}
            <NewToken first={tokens.length === 0} />
          </>
        )}
      </Loaded>
    </section>
  );
}

function TokenRow({ token }: { token: Token }) {
  const client = useQueryClient();
  const revoke = useMutation({
    mutationFn: () => post<Token>(`tokens/${encodeURIComponent(token.id)}/revoke`, {}),
    onSuccess: () => {
      toasts.add({ title: `${token.name || token.id} lets nobody in any more` });
      return client.invalidateQueries({ queryKey: ["tokens"] });
    },
    onError: tellFailure,
  });
  return (
    <tr>
      <td>
        <span className="strong">{token.name || "–"}</span> <code className="muted small">{token.id}</code>
      </td>
      <td>{token.scope}</td>
      <td>{token.project || <span className="muted">all</span>}</td>
      <td>
        <Time time={token.create_time} />
      </td>
      <td>
        {token.revoke_time ? <span className="bad-text">revoked</span> : token.expire_time ? <Time time={token.expire_time} /> : <span className="muted">never</span>}
      </td>
      <td className="number">
        {!token.revoke_time && (
          <Confirm
            trigger="Revoke"
            className="button quiet"
            title={`Revoke ${token.name || token.id}?`}
            action="Revoke the token"
            disabled={revoke.isPending}
            onConfirm={() => revoke.mutate()}
          >
            Whoever has it is shut out at once, also where he is logged in. It cannot be taken back.
          </Confirm>
        )}
      </td>
    </tr>
  );
}

function NewToken({ first }: { first: boolean }) {
  const client = useQueryClient();
  const [name, setName] = useState("");
  const [scope, setScope] = useState(first ? "admin" : "submitter");
  const [project, setProject] = useState("");
  const [days, setDays] = useState("90");
  const make = useMutation({
    mutationFn: async () => {
      const made = await post<{ token: Token; secret: string }>("tokens", {
        name,
        scope,
        project,
        ...(Number(days) > 0 && { expire_time: new Date(serverNow() + Number(days) * 86_400_000).toISOString() }),
      });
      showSecret(client, { name: made.token.name || made.token.id, secret: made.secret });
      // The first token closes the server: who made it is logged in with it.
      if (first) await post<Session>("login", { token: made.secret }).then((session) => client.setQueryData(["session"], session), tellFailure);
    },
    onSuccess: () => {
      setName("");
      return client.invalidateQueries({ queryKey: ["tokens"] });
    },
  });
  return (
    <form
      className="card block"
      onSubmit={(event) => {
        event.preventDefault();
        make.mutate();
      }}
    >
      <h3>New token</h3>
      <div className="grid">
        <Labelled label="Name" help="For people: whose it is.">
          {(ids) => <input {...inputIds(ids)} className="field" required maxLength={100} value={name} onChange={(event) => setName(event.target.value)} />}
        </Labelled>
        <Labelled label="Scope" help={first ? "The first one must be an admin’s." : "What its holder may."}>
          {(ids) => <Choice {...ids} value={scope} options={first ? SCOPES.filter((s) => s.value === "admin") : SCOPES} onChange={setScope} />}
        </Labelled>
        <Labelled label="Project" help="Whose things it sees; empty: all projects’.">
          {(ids) => <input {...inputIds(ids)} className="field" value={project} onChange={(event) => setProject(event.target.value)} />}
        </Labelled>
        <Labelled label="Days" help="Until it ends; 0: never.">
          {(ids) => <input {...inputIds(ids)} className="field" type="number" min={0} value={days} onChange={(event) => setDays(event.target.value)} />}
        </Labelled>
      </div>
      {make.error && <Failure error={make.error} />}
      <button className="button primary" disabled={make.isPending}>
        Make the token
      </button>
    </form>
  );
}

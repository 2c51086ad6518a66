// The list of sweeps, newest first.
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "wouter";
import { get, goesOn, type Sweep } from "../api";
import { Bar, Empty, Loaded, StateBadge, Table, Time, useTitle } from "../parts/basics";
import { NewLink, useBarred } from "../parts/session";
import { ended, progress } from "../sweep";

export default function Sweeps() {
  useTitle("Sweeps");
  const [params, setParams] = useSearchParams();
  const token = params.get("page") ?? "";
  const barred = useBarred("submitter");
  const query = useQuery({
    queryKey: ["sweeps", token],
    queryFn: () => get<{ sweeps: Sweep[]; next_page_token: string }>("sweeps", { page_token: token, page_size: 50 }),
    placeholderData: keepPreviousData,
    refetchInterval: (q) => (q.state.data?.sweeps.some((sweep) => goesOn(sweep.state)) ? 2000 : 5000),
  });
  return (
    <>
      <div className="head">
        <h1>Sweeps</h1>
        <NewLink href="/sweeps/new">New sweep</NewLink>
      </div>
      <Loaded query={query}>
        {(page) =>
          page.sweeps.length === 0 ? (
            <Empty title="No sweeps yet">
              <p className="muted">A recipe and a space of parameters; a strategy tries them, each trial a job.</p>
              {!barred && <pre className="command">wring sweep submit sweep.yaml</pre>}
            </Empty>
          ) : (
            <>
              <Table label="Sweeps">
                <thead>
                  <tr>
                    <th>Sweep</th>
                    <th>State</th>
                    <th>Strategy</th>
                    <th>Trials</th>
                    <th className="number">Failed</th>
                    <th>Submitted</th>
                  </tr>
                </thead>
                <tbody>
                  {page.sweeps.map((sweep) => (
                    <Row key={sweep.id} sweep={sweep} />
                  ))}
                </tbody>
              </Table>
              <nav className="pages" aria-label="Pages">
                {token && (
                  <button className="button" onClick={() => setParams({})}>
                    Newest
                  </button>
                )}
                {page.next_page_token && (
                  <button className="button" onClick={() => setParams({ page: page.next_page_token })}>
                    Older
                  </button>
                )}
              </nav>
            </>
          )
        }
      </Loaded>
    </>
  );
}

function Row({ sweep }: { sweep: Sweep }) {
  const name = sweep.spec.name || sweep.id;
  const expected = Number(sweep.expected_trials);
  return (
    <tr>
      <td>
        <Link href={`/sweeps/${sweep.id}`} className="strong">
          {name}
        </Link>{" "}
        <code className="muted small">{sweep.id}</code>
      </td>
      <td>
        <StateBadge state={sweep.state} />
      </td>
      <td>{sweep.strategy}</td>
      <td className="trials-cell">
        {ended(sweep)}
        {expected > 0 && <span className="muted"> of {expected}</span>}
        {goesOn(sweep.state) && <Bar value={progress(sweep)} label={`Trials of ${name} that have ended`} />}
      </td>
      <td className="number">{Number(sweep.failed) > 0 ? <span className="bad-text">{sweep.failed}</span> : <span className="muted">–</span>}</td>
      <td>
        <Time time={sweep.create_time} />
      </td>
    </tr>
  );
}

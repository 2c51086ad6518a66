"""What clients saw and what the database holds: whether the two can both be true of a service that loses and doubles nothing.

A history is a list of dictionaries, each something that a client was told, in the order in which it was told:
  {"kind": "asked", "request": UUID, "recipe": TEXT}            a submit was sent; what came of it is not known
  {"kind": "submitted", "request": UUID, "job": ID}             it was acknowledged
  {"kind": "seen", "job": ID, "state": STATE, "result": DIGEST}  a state that the server told, also as a cancel's answer
  {"kind": "cancelled", "job": ID}                              a cancel was acknowledged
  {"kind": "put", "digest": DIGEST}                             an artifact was acknowledged
"""
import json
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path

PHASES = {1: "QUEUED", 2: "RUNNING", 3: "CANCELLING", 4: "SUCCEEDED", 5: "FAILED", 6: "CANCELLED"}
TERMINAL = {"SUCCEEDED", "FAILED", "CANCELLED"}
# What may follow what in the events of a job that nobody retries or pauses; None: the beginning.
FOLLOWS = {
    None: {"queued"},
    "queued": {"leased", "cancelled", "failed"},
    "leased": {"stage_started", "stage_done", "released", "succeeded", "failed", "cancelling", "cancelled"},
    "released": {"leased", "cancelled", "failed"},
    "cancelling": {"stage_started", "stage_done", "cancelled", "succeeded"},
    "succeeded": set(), "failed": set(), "cancelled": set(),
}
FOLLOWS["stage_started"] = FOLLOWS["stage_done"] = FOLLOWS["leased"]


def read_database(path):
    """Rows of a job database as {"jobs", "requests", "events", "artifacts"}, all plain values."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        jobs = [dict(json.loads(record), fence_n=n) for record, n in database.execute("SELECT record, fence_n FROM jobs")]
        requests = [{"request": request, "job": job} for request, job in database.execute("SELECT request_id, job_id FROM requests")]
        events = [dict(zip(("job", "number", "type", "attempt", "phase"), row)) for row in
                  database.execute("SELECT job_id, number, type, attempt, phase FROM events ORDER BY job_id, number")]
        artifacts = [digest for (digest,) in database.execute("SELECT digest FROM artifacts")]
    return {"jobs": jobs, "requests": requests, "events": events, "artifacts": artifacts}


def check(history, rows, expected):
    """Sentences, one a violation. `expected`: the digest that an undisturbed run of each recipe gives."""
    found = []
    jobs = {job["id"]: job for job in rows["jobs"]}
    asked = {entry["request"]: entry["recipe"] for entry in history if entry["kind"] == "asked"}
    found += check_requests(history, rows, jobs, asked)
    found += check_ends(history, rows, jobs, asked, expected)
    found += check_events(rows, jobs)
    found += check_leases(rows["jobs"])
    for entry in history:
        if entry["kind"] == "put" and entry["digest"] not in rows["artifacts"]:
            found.append(f"lost: artifact {entry['digest']}, which was acknowledged")
    return found


def check_requests(history, rows, jobs, asked):
    """Each acknowledged request is one job, and each job is one request."""
    found, acknowledged = [], defaultdict(set)
    for entry in history:
        if entry["kind"] == "submitted":
            acknowledged[entry["request"]].add(entry["job"])
    of_request = defaultdict(set)
    for row in rows["requests"]:
        of_request[row["request"]].add(row["job"])
    for request, ids in acknowledged.items():
        if len(ids) > 1:
            found.append(f"doubled: request {request} was answered with jobs {sorted(ids)}")
        for job in ids:
            if job not in jobs:
                found.append(f"lost: job {job}, acknowledged for request {request}")
            if of_request[request] != {job}:
                found.append(f"request {request} of job {job} is stored with {sorted(of_request[request])}")
    counts = Counter(row["job"] for row in rows["requests"])
    for job in jobs:
        if counts[job] != 1:
            found.append(f"doubled: job {job} belongs to {counts[job]} requests")
    for row in rows["requests"]:
        if row["request"] not in asked:
            found.append(f"job {row['job']} has a request that nobody sent: {row['request']}")
        if row["job"] not in jobs:
            found.append(f"lost: job {row['job']} of request {row['request']}")
    return found


def check_ends(history, rows, jobs, asked, expected):
    """Each job has ended as every client was told, and a result is what an undisturbed run makes."""
    found = []
    state = {job: PHASES[record["phase"]] for job, record in jobs.items()}
    for job in jobs:
        if state[job] not in TERMINAL:
            found.append(f"job {job} never ended: {state[job]}")
    for row in rows["requests"]:
        job = jobs.get(row["job"])
        if job is None or state[job["id"]] != "SUCCEEDED":
            continue
        if job["result"] != expected.get(asked.get(row["request"])):
            found.append(f"job {job['id']} ({asked.get(row['request'])}) has result {job['result']}")
        if job["result"] not in rows["artifacts"]:
            found.append(f"lost: the result of job {job['id']}")
    for entry in history:
        job = entry.get("job")
        if entry["kind"] == "seen" and entry["state"] in TERMINAL and job in jobs:
            if (state[job], jobs[job]["result"]) != (entry["state"], entry["result"]):
                found.append(f"job {job} was told as {entry['state']} {entry['result']} and is {state[job]} {jobs[job]['result']}")
        if entry["kind"] == "cancelled" and state.get(job) not in ("CANCELLED", "SUCCEEDED"):  # a success may be faster
            found.append(f"job {job}, whose cancel was acknowledged, is {state.get(job)}")
    return found


def check_events(rows, jobs):
    """Each job's log has no gap, obeys the life of a job, and has exactly one end."""
    found, logs = [], defaultdict(list)
    for event in rows["events"]:
        logs[event["job"]].append(event)
    for job, record in jobs.items():
        log, before, attempt = logs[job], None, 0
        if [event["number"] for event in log] != list(range(1, record["last_event"] + 1)):
            found.append(f"job {job}: its events are {[event['number'] for event in log]}, the last is {record['last_event']}")
        for event in log:
            if event["type"] not in FOLLOWS.get(before, set()):
                found.append(f"job {job}: event {event['number']}, {event['type']}, after {before}")
            if event["type"] == "leased" and event["attempt"] < max(attempt, 1):
                found.append(f"job {job}: attempt {event['attempt']} after {attempt}")
            if event["type"].startswith("stage_") and event["attempt"] != attempt:
                found.append(f"job {job}: a stage of attempt {event['attempt']} under attempt {attempt}")
            before, attempt = event["type"], event["attempt"]
        ends = [event["type"] for event in log if PHASES[event["phase"]] in TERMINAL]
        if len(ends) != 1:
            found.append(f"job {job} has {len(ends)} ends: {ends}")
    return found


def check_leases(jobs):
    """No two jobs' newest leases are one."""
    counts = Counter(job["fence_n"] for job in jobs if job["fence_n"] > 0)
    return [f"{count} jobs have lease {n}" for n, count in counts.items() if count > 1]


def read_history(paths):
    return [json.loads(line) for path in paths for line in Path(path).read_text().splitlines()]

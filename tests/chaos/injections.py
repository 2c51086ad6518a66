"""Lies told about a history that is true: the checker must find each of them, or its silence proves nothing."""
import copy

from history import PHASES, check


def succeeded(rows):
    return next(job for job in rows["jobs"] if PHASES[job["phase"]] == "SUCCEEDED")


def log_of(rows, job):
    return [event for event in rows["events"] if event["job"] == job["id"]]


def acknowledged(history, kind="submitted"):
    return next(entry for entry in history if entry["kind"] == kind)


def lose_a_job(history, rows):
    job = acknowledged(history)["job"]
    rows["jobs"] = [row for row in rows["jobs"] if row["id"] != job]


def lose_a_job_and_its_request(history, rows):
    lose_a_job(history, rows)
    rows["requests"] = [row for row in rows["requests"] if row["request"] != acknowledged(history)["request"]]


def double_a_job(history, rows):
    rows["jobs"].append(dict(succeeded(rows), id="twin"))
    rows["events"] += [dict(event, job="twin") for event in log_of(rows, succeeded(rows))]


def double_a_job_and_its_request(history, rows):
    double_a_job(history, rows)
    request = next(row["request"] for row in rows["requests"] if row["job"] == succeeded(rows)["id"])
    rows["requests"].append({"request": request, "job": "twin"})


def answer_a_request_with_two_jobs(history, _):
    others = [entry for entry in history if entry["kind"] == "submitted" and entry["job"] != acknowledged(history)["job"]]
    history.append(dict(acknowledged(history), job=others[0]["job"]))


def end_a_job_twice(_, rows):
    job = succeeded(rows)
    job["last_event"] += 1
    rows["events"].append(dict(log_of(rows, job)[-1], number=job["last_event"]))


def lose_an_event(_, rows):
    rows["events"].remove(log_of(rows, succeeded(rows))[1])


def lease_a_job_that_is_leased(_, rows):
    log = log_of(rows, succeeded(rows))
    stage = next(event for event in log if event["type"].startswith("stage_"))
    stage["type"] = "leased"


def report_a_stage_of_another_attempt(_, rows):
    next(event for event in rows["events"] if event["type"] == "stage_done")["attempt"] += 1


def give_a_lease_to_two_jobs(_, rows):
    leased = [job for job in rows["jobs"] if job["fence_n"] > 0]
    leased[0]["fence_n"] = leased[1]["fence_n"]


def leave_a_job_running(_, rows):
    succeeded(rows)["phase"] = 2


def change_an_end_that_was_told(history, rows):
    told = next(entry for entry in history if entry["kind"] == "seen" and entry["state"] == "SUCCEEDED")
    next(job for job in rows["jobs"] if job["id"] == told["job"])["phase"] = 6


def change_a_result(_, rows):
    succeeded(rows)["result"] = rows["artifacts"][0][::-1]


def lose_an_artifact(_, rows):
    rows["artifacts"].remove(succeeded(rows)["result"])


INJECTIONS = [lose_a_job, lose_a_job_and_its_request, double_a_job, double_a_job_and_its_request, answer_a_request_with_two_jobs,
              end_a_job_twice, lose_an_event, lease_a_job_that_is_leased, report_a_stage_of_another_attempt, give_a_lease_to_two_jobs,
              leave_a_job_running, change_an_end_that_was_told, change_a_result, lose_an_artifact]


def not_found(history, rows, expected):
    """Names of the injections into copies that the checker passes over; the originals must be without violations."""
    missed = []
    for inject in INJECTIONS:
        false_history, false_rows = copy.deepcopy(history), copy.deepcopy(rows)
        inject(false_history, false_rows)
        if not check(false_history, false_rows, expected):
            missed.append(inject.__name__)
    return missed

"""Thin client of the Wring compression service: submit, watch, get, evals."""

from wring.client import Client, JobFailed, WringError

__all__ = ["Client", "JobFailed", "WringError"]

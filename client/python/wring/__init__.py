"""Thin client of the Wring compression service: jobs, artifacts, sweeps, projects over its API."""

from wring.client import Client
from wring.errors import JobFailed, WringError

__all__ = ["Client", "JobFailed", "WringError"]

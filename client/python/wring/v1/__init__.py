"""The API messages and services, generated from proto/wring/v1."""

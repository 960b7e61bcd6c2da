"""Dashboards, alerts, and the configuration of Elasticsearch; most of it is generated."""

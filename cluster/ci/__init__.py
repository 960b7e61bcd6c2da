"""What pipelines run: a rollout through the admin API. Workflows are in .github/workflows, others beside this file."""

"""Models on a GPU: in the process, behind the listener, and as a scoring job."""

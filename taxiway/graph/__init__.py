"""Inference graphs: several registered models behind one endpoint, composed to one predictor."""

from taxiway.graph.columns import merged_features
from taxiway.graph.plan import Graph, plan, version_of
from taxiway.graph.predictor import GraphPredictor, MapParallel, NodeOutcome, Observe, RunWithTimeout
from taxiway.graph.settings import GraphSettings, ModelNode

__all__ = [
    "Graph",
    "GraphPredictor",
    "GraphSettings",
    "MapParallel",
    "ModelNode",
    "NodeOutcome",
    "Observe",
    "RunWithTimeout",
    "merged_features",
    "plan",
    "version_of",
]

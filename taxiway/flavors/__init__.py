"""One module for each kind of model: load it as MLflow stored it, and ask it as MLflow's pyfunc would, only sooner."""

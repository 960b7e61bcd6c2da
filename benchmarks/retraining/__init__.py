"""A retraining beside a plain script of scikit-learn and joblib, and what a search spends its time on."""

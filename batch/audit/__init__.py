"""The skew audit: what was served against what the offline features and the same model say."""

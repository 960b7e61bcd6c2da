"""What remembering answers costs whoever waits for them: prediction log, observations, shadows."""

"""What a deployment would cost, and how it would answer: a traffic trace played against autoscaling policies."""

"""Plan how many replicas a rate of requests needs: measure, fit, simulate."""

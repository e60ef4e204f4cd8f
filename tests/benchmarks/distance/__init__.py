"""What the benchmark of the distance engine measures on and against."""

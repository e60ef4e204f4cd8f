"""What the cluster costs and gives: latency, overhead, throughput."""

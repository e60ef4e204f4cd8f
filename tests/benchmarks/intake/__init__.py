"""What `bench_intake` measures, part by part."""

"""What `bench_embedders` compares: the tasks of a suite, and ways to see them."""

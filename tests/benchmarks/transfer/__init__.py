"""What `bench_transfer` does: does a start from other tasks pay, on tasks those never saw?"""

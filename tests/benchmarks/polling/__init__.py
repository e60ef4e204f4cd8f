"""What `bench_polling` is made of."""
